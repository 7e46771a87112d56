import { z } from 'zod';
import type { Call } from './account.js';
import { toErrors, toInvalid } from './answer.js';
import type { Answer } from './answer.js';
import { createBlame } from './blame.js';
import type { Blame } from './blame.js';
import { checkEvent } from './check-event.js';
import type { EventInput } from './check-event.js';
import { checkProfile, isGiven, maxEventProfileBytes } from './check-profile.js';
import type { ProfileInput } from './check-profile.js';
import { checkKnown, toResource } from './check-value.js';
import { isAnswering } from './faults.js';
import { toFrame } from './frame.js';
import { isObject, toMember } from './json.js';
import { judgePoison } from './poison.js';
import type { Suspect } from './poison.js';

/** Klaviyo's cap on one bulk request, summed over its profiles. */
export const maxEventsPerRequest = 1000;

const bulkPath = ['data', 'attributes', 'events-bulk-create', 'data'] as const;
const wrapperMembers = new Set(['type', 'attributes']);
const wrapperFields = new Set(['profile', 'events']);
const wrapperFieldsWithBackfill = new Set([...wrapperFields, 'backfill']);
const dataMember = new Set(['data']);

/** The outer frame alone: what is in the list is walked by hand, which zod would be too slow for. */
const bulkFrame = z.strictObject({
  data: z.strictObject({
    type: z.literal('event-bulk-create-job'),
    attributes: z.strictObject({
      'events-bulk-create': z.strictObject({ data: z.array(z.unknown()).min(1) }),
    }),
  }),
});

/** One wrapper of a bulk request: a profile and its events. `index` is its place in the request. */
type Checked = {
  readonly index: number;
  readonly profile: ProfileInput;
  readonly events: readonly EventInput[];
};

/** `POST /api/events`: 202 with an empty body. */
export function createEvent(call: Call): Answer {
  const blame = createBlame();
  const found: { profile?: ProfileInput | undefined; event?: EventInput | undefined } = {};
  const source = toMember(call.json, 'data');
  blame.within(['data'], () => {
    found.event = checkEvent(source, { ...call, withProfile: true }, blame);
    const wrapped = toMember(toMember(source, 'attributes'), 'profile');
    blame.within(['attributes', 'profile', 'data'], () => {
      found.profile = checkProfile(
        toMember(wrapped, 'data'),
        { revision: call.revision, maxBytes: maxEventProfileBytes, within: 'event' },
        blame,
      );
    });
  });
  const { profile, event } = found;
  if (blame.errors().length > 0 || profile === undefined || event === undefined) {
    return { ...toErrors(400, blame.errors()), count: 1 };
  }
  const at = ['data', 'attributes'] as const;
  const toSuspects = (): Suspect[] => [
    {
      prefix: at,
      places: [
        { at, attributes: event.attributes },
        { at: [...at, 'profile', 'data', 'attributes'], attributes: profile.attributes },
      ],
    },
  ];
  return finish(call, [{ index: 0, profile, events: [event] }], toSuspects);
}

/** `POST /api/event-bulk-create-jobs`: 202 with an empty body, or 400 and nothing is recorded. */
export function bulkCreateEvents(call: Call): Answer {
  const framed = toFrame(call.json, bulkFrame, 'event-bulk-create-job');
  if ('refused' in framed) return framed.refused;
  const wrappers = framed.frame.data.attributes['events-bulk-create'].data;
  const count = countEvents(wrappers);
  if (count > maxEventsPerRequest) return { ...toTooMany(), count };
  const blame = createBlame();
  const checked: Checked[] = [];
  blame.within(bulkPath, () => {
    for (const [index, wrapper] of wrappers.entries()) {
      blame.within([index], () => {
        const one = checkWrapper(wrapper, call, blame);
        if (one !== undefined) checked.push({ index, ...one });
      });
    }
    if (blame.errors().length === 0) judgeRepeats(checked, call, blame);
  });
  if (blame.errors().length > 0) return { ...toErrors(400, blame.errors()), count };
  return finish(call, checked, () => toBulkSuspects(checked));
}

/** Records what is valid and not poisoned; a poison rule with an answer of its own leaves everything undone. */
function finish(call: Call, checked: readonly Checked[], toSuspects: () => Suspect[]): Answer {
  const count = checked.reduce((sum, { events }) => sum + events.length, 0);
  const { errors, effect } = judgePoison(call.poisons, toSuspects);
  if (errors.length > 0) return { ...toErrors(400, errors), count };
  const answer: Answer = { status: 202, count, ...(effect === null ? {} : { effect }) };
  if (effect !== null && isAnswering(effect)) return answer;
  for (const { profile, events } of checked) {
    for (const event of events) call.account.activity.record(profile, event, call.now);
  }
  return answer;
}

/** Before anything is checked: a wrapper that makes no sense counts as one. */
function countEvents(wrappers: readonly unknown[]): number {
  let count = 0;
  for (const wrapper of wrappers) {
    const events = toMember(toMember(toMember(wrapper, 'attributes'), 'events'), 'data');
    count += Array.isArray(events) ? events.length : 1;
  }
  return count;
}

function toTooMany(): Answer {
  const detail = `The maximum number of events per request is ${maxEventsPerRequest}.`;
  return toErrors(400, [
    toInvalid(detail, { pointer: '/data/attributes/events-bulk-create/data' }),
  ]);
}

function checkWrapper(
  wrapper: unknown,
  call: Call,
  blame: Blame,
): Omit<Checked, 'index'> | undefined {
  const found = toResource(wrapper, { type: 'event-bulk-create', members: wrapperMembers }, blame);
  if (found === undefined) return undefined;
  const { profile: profileFrame, events: eventsFrame, backfill } = found.attributes;
  const events: EventInput[] = [];
  let profile: ProfileInput | undefined;
  blame.within(['attributes'], () => {
    const fields = call.revision.takesBackfill ? wrapperFieldsWithBackfill : wrapperFields;
    checkKnown(found.attributes, { fields, resource: 'event-bulk-create' }, blame);
    if (isGiven(backfill) && typeof backfill !== 'boolean') {
      blame.add('backfill must be true or false.', 'backfill');
    }
    blame.within(['profile'], () => checkFrame(profileFrame, blame));
    blame.within(['profile', 'data'], () => {
      profile = checkProfile(
        toMember(profileFrame, 'data'),
        { revision: call.revision, maxBytes: maxEventProfileBytes, within: 'bulk-event' },
        blame,
      );
    });
    blame.within(['events'], () => checkFrame(eventsFrame, blame));
    blame.within(['events', 'data'], () => {
      events.push(...checkEvents(toMember(eventsFrame, 'data'), call, blame));
    });
  });
  if (profile === undefined) return undefined;
  return { profile, events: events.map((event) => withBackfillOf(backfill, event)) };
}

/** The wrapper decides for those of its events that say nothing themselves. */
function withBackfillOf(wrapper: unknown, event: EventInput): EventInput {
  return wrapper === true && event.backfill === null ? { ...event, backfill: true } : event;
}

function checkFrame(frame: unknown, blame: Blame): void {
  if (isObject(frame))
    checkKnown(frame, { fields: dataMember, resource: 'event-bulk-create' }, blame);
}

/** An empty list is refused: a profile without events has no business at this endpoint. */
function checkEvents(data: unknown, call: Call, blame: Blame): EventInput[] {
  if (!Array.isArray(data) || data.length === 0) {
    blame.add('A list of at least one event is required.');
    return [];
  }
  const events: EventInput[] = [];
  const rules = { now: call.now, revision: call.revision, withProfile: false };
  for (const [index, value] of data.entries()) {
    blame.within([index], () => {
      const event = checkEvent(value, rules, blame);
      if (event !== undefined) events.push(event);
    });
  }
  return events;
}

/**
 * The same unique_id twice for one profile and metric in one request: it fails all of it, or at an
 * older revision only the first is recorded. Counted either way, since no sender means it.
 */
function judgeRepeats(checked: readonly Checked[], call: Call, blame: Blame): void {
  const { counters, profiles } = call.account;
  const seen = new Set<string>();
  for (const { index, profile, events } of checked) {
    const identity = profiles.toIdentity(profile);
    for (const [place, { metric, uniqueId }] of events.entries()) {
      if (uniqueId === null) continue;
      const ids = identity.map((one) => `${one}\n${metric}\n${uniqueId}`);
      const isRepeated = ids.some((id) => seen.has(id));
      for (const id of ids) seen.add(id);
      if (!isRepeated) continue;
      counters.repeatsInRequest++;
      if (!call.revision.failsOnRepeatedUniqueId) continue;
      blame.add(
        `The unique_id '${uniqueId}' is used more than once for the same profile and metric.`,
        ...[index, 'attributes', 'events', 'data', place, 'attributes', 'unique_id'],
      );
    }
  }
}

function toBulkSuspects(checked: readonly Checked[]): Suspect[] {
  return checked.flatMap(({ index, profile, events }) => {
    const prefix = [...bulkPath, index];
    const person = {
      at: [...prefix, 'attributes', 'profile', 'data', 'attributes'],
      attributes: profile.attributes,
    };
    return events.map(({ attributes }, place) => {
      const at = [...prefix, 'attributes', 'events', 'data', place, 'attributes'];
      return { prefix, places: [{ at, attributes }, person] };
    });
  });
}
