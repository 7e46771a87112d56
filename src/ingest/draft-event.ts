import type { Issue } from '../model/outcome.js';
import { isJsonObject } from '../json/json.js';
import { notAnObject } from './entry-bounds.js';
import { toBytes, type DraftContext, type Drafted } from './draft.js';
import { capIssues, createCheck, invalidBody } from './validation-issues.js';
import { toEventKeys } from './identity.js';
import { limits } from './limits.js';
import { toEventProperties, toEventText, type Accepted } from './map.js';
import { identify, toIdText } from './person.js';
import { findPropertyIssues } from './properties.js';
import { eventSchema, type PostedEvent } from './schema.js';

const checkEvent = createCheck(eventSchema, 'an event');

/** Validates one event, stamps what never changes again, maps and serialises it. */
export function draftEvent(entry: unknown, context: DraftContext): Drafted {
  if (!isJsonObject(entry)) return invalidBody('', notAnObject.events);
  const checked = checkEvent(entry);
  if (!checked.ok) return checked;
  const event = checked.value;
  const person = identify(event, { lane: 'events', toE164: context.toE164 });
  if (!person.ok) return person;
  const errors = findEventFaults(event, person, context);
  if (errors.length > 0) return { ok: false, errors: capIssues(errors) };

  const { acceptedAt } = context;
  const time = event.event_time ?? new Date(acceptedAt).toISOString();
  // Klaviyo's own fallback is the event's second, and then drops what happened in the same one.
  const uniqueId = toIdText(event.insert_id) ?? context.idempotencyKey ?? context.newId();
  const { identifiers, unusablePhone, warnings } = person;
  const backfill = toEpochMs(event, acceptedAt) < context.backfillBefore;
  const accepted = { identifiers, unusablePhone, time, uniqueId, backfill };
  const payload = toBytes(toEventText(event, accepted));
  if (payload.length > limits.eventBytes) {
    return invalidBody('', `is longer than ${limits.eventBytes} bytes`);
  }
  const keys = toEventKeys(identifiers, event.event_name, uniqueId);
  return { ok: true, draft: { lane: 'events', keys, acceptedAt, payload }, warnings };
}

const toEpochMs = ({ event_time: time }: PostedEvent, acceptedAt: number): number =>
  time == null ? acceptedAt : Date.parse(time);

/** Names the mapping can add to an event's properties: four of revenue and a kept phone number. */
const addedProperties = 5;

/** What the schema cannot say: it depends on the time, on the mapping, or on depth. */
function findEventFaults(
  event: PostedEvent,
  accepted: Accepted,
  context: DraftContext,
): readonly Issue[] {
  const faults: Issue[] = [];
  if (event.event_time != null) faults.push(...findTimeFaults(event.event_time, context));
  const key = event.insert_id == null ? context.idempotencyKey : undefined;
  if (key !== undefined && (key === '' || key.length > limits.uniqueIdChars)) {
    const detail = `the Idempotency-Key header must have 1 to ${limits.uniqueIdChars} characters`;
    faults.push({ pointer: '', detail });
  }
  if (event.properties == null) return faults;
  const given = Object.keys(event.properties).length;
  if (
    given + addedProperties > context.rules.maxEventProperties &&
    Object.keys(toEventProperties(event, accepted)).length > context.rules.maxEventProperties
  ) {
    const detail = `has more than ${context.rules.maxEventProperties} properties, with those that other fields add`;
    faults.push({ pointer: '/properties', detail });
  }
  faults.push(...findPropertyIssues(event.properties));
  return faults;
}

/** Klaviyo takes times from some year on to a year ahead. */
function findTimeFaults(time: string, { acceptedAt, rules }: DraftContext): readonly Issue[] {
  const at = Date.parse(time);
  const earliest = rules.earliestEventTime;
  if (at < earliest) {
    const detail = `is before ${new Date(earliest).getUTCFullYear()}`;
    return [{ pointer: '/event_time', detail }];
  }
  if (at <= acceptedAt + limits.futureMs) return [];
  return [{ pointer: '/event_time', detail: 'is more than a year ahead' }];
}
