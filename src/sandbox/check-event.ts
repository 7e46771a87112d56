import type { Blame } from './blame.js';
import { isGiven, isTextOf } from './check-profile.js';
import { checkKnown, checkNested, toResource } from './check-value.js';
import { isObject } from './json.js';
import type { JsonObject } from './json.js';
import type { Revision } from './revisions.js';

/** What a request says of one event, checked; absent and null are the same. */
export type EventInput = {
  readonly metric: string;
  /** As it was sent; null where Klaviyo stamps it. */
  readonly time: string | null;
  /** Epoch ms. */
  readonly timeMs: number | null;
  readonly uniqueId: string | null;
  readonly properties: JsonObject;
  readonly value: number | null;
  readonly valueCurrency: string | null;
  /** Null where the event says nothing of it. */
  readonly backfill: boolean | null;
  readonly attributes: JsonObject;
};

/** What the request around an event decides about it. */
export type EventRules = {
  /** Epoch ms. */
  readonly now: number;
  readonly revision: Revision;
  /** True at `POST /api/events`, where the profile is an attribute of the event. */
  readonly withProfile: boolean;
};

const fields = ['properties', 'time', 'value', 'value_currency', 'unique_id', 'metric'];
const resourceMembers = new Set(['type', 'attributes']);
const metricMembers = new Set(['type', 'attributes']);
const metricFields = new Set(['name', 'service']);
const dataMember = new Set(['data']);
/** ISO 8601 with upper-case T and Z, seconds and an offset; never unix time (the OpenAPI: `date-time`). */
const timeForm =
  /^(\d{4})-(0[1-9]|1[0-2])-(\d{2})T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d+)?(?:Z|[+-](?:[01]\d|2[0-3]):[0-5]\d)$/;

/** Epoch ms of an ISO 8601 time with an upper-case T and an offset; undefined where it is none. */
export function toTimeMs(text: string): number | undefined {
  const [, year, month, day] = timeForm.exec(text) ?? [];
  if (day === undefined) return undefined;
  // Date.parse lets the 30th of February pass as the 1st of March.
  if (Number(day) > 28 || day === '00') {
    const lastDay = new Date(Date.UTC(Number(year), Number(month), 0)).getUTCDate();
    if (Number(day) < 1 || Number(day) > lastDay) return undefined;
  }
  return Date.parse(text);
}

/** Checks one event resource; undefined where it lacks what an event cannot be without. */
export function checkEvent(
  value: unknown,
  rules: EventRules,
  blame: Blame,
): EventInput | undefined {
  const found = toResource(value, { type: 'event', members: resourceMembers }, blame);
  if (found === undefined) return undefined;
  let input: EventInput | undefined;
  blame.within(['attributes'], () => {
    input = checkAttributes(found.attributes, rules, blame);
  });
  return input;
}

function checkAttributes(
  attributes: JsonObject,
  rules: EventRules,
  blame: Blame,
): EventInput | undefined {
  checkKnown(attributes, { fields: toKnownFields(rules), resource: 'event' }, blame);
  const timeMs = checkTime(attributes.time, rules, blame);
  checkScalars(attributes, blame);
  const metric = checkMetric(attributes.metric, blame);
  const properties = checkProperties(attributes.properties, rules.revision, blame);
  if (metric === undefined || properties === undefined) return undefined;
  const { time, unique_id: uniqueId, value, value_currency: currency, backfill } = attributes;
  return {
    metric,
    time: typeof time === 'string' ? time : null,
    timeMs,
    uniqueId: typeof uniqueId === 'string' ? uniqueId : null,
    properties,
    value: typeof value === 'number' ? value : null,
    valueCurrency: typeof currency === 'string' ? currency : null,
    backfill: typeof backfill === 'boolean' ? backfill : null,
    attributes,
  };
}

/** Sets are made once: a full request would make a thousand of them. */
function toKnownFields(rules: EventRules): ReadonlySet<string> {
  return knownFields[rules.withProfile ? 1 : 0][rules.revision.takesBackfill ? 1 : 0];
}

const knownFields = [
  [new Set(fields), new Set([...fields, 'backfill'])],
  [new Set([...fields, 'profile']), new Set([...fields, 'profile', 'backfill'])],
] as const;

/** From the revision's earliest year to one year from now; the time itself where it is an ISO 8601 one. */
function checkTime(time: unknown, { now, revision }: EventRules, blame: Blame): number | null {
  if (!isGiven(time)) return null;
  const at = typeof time === 'string' ? toTimeMs(time) : undefined;
  if (at === undefined) {
    blame.add(
      'Invalid time format. It must be ISO 8601 (Example: 2022-11-08T00:00:00+00:00).',
      'time',
    );
    return null;
  }
  const year = revision.earliestEventYear;
  if (at < Date.UTC(year, 0, 1) || at > toLatestTimeMs(now)) {
    blame.add(`time must be between the year ${year} and one year from now.`, 'time');
  }
  return at;
}

function toLatestTimeMs(now: number): number {
  const latest = new Date(now);
  return latest.setUTCFullYear(latest.getUTCFullYear() + 1);
}

function checkScalars(attributes: JsonObject, blame: Blame): void {
  const { unique_id: uniqueId, value, value_currency: currency, backfill } = attributes;
  if (isGiven(uniqueId) && !isTextOf(uniqueId, 255)) {
    blame.add('unique_id must be a string of 1 to 255 characters.', 'unique_id');
  }
  if (isGiven(value) && typeof value !== 'number') blame.add('value must be a number.', 'value');
  if (isGiven(currency) && !(typeof currency === 'string' && /^[A-Z]{3}$/.test(currency))) {
    blame.add('value_currency must be an ISO 4217 code (Example: USD).', 'value_currency');
  }
  if (isGiven(backfill) && typeof backfill !== 'boolean') {
    blame.add('backfill must be true or false.', 'backfill');
  }
}

/** The name, or undefined where it was blamed. */
function checkMetric(metric: unknown, blame: Blame): string | undefined {
  let name: unknown;
  blame.within(['metric'], () => {
    if (!isObject(metric)) {
      blame.add("The field 'metric' is required.");
      return;
    }
    checkKnown(metric, { fields: dataMember, resource: 'metric' }, blame);
    blame.within(['data'], () => {
      const found = toResource(metric.data, { type: 'metric', members: metricMembers }, blame);
      if (found === undefined) return;
      blame.within(['attributes'], () => {
        checkKnown(found.attributes, { fields: metricFields, resource: 'metric' }, blame);
        name = found.attributes.name;
        if (!isTextOf(name, 127))
          blame.add('name must be a string of 1 to 127 characters.', 'name');
      });
    });
  });
  return isTextOf(name, 127) ? name : undefined;
}

function checkProperties(
  properties: unknown,
  { maxEventProperties: max }: Revision,
  blame: Blame,
): JsonObject | undefined {
  if (!isObject(properties)) {
    blame.add("The field 'properties' is required and must be an object.", 'properties');
    return undefined;
  }
  blame.within(['properties'], () => {
    const count = Object.keys(properties).length;
    if (count > max) {
      blame.add(`An event must not have more than ${max} properties.`);
    } else checkNested(properties, blame);
  });
  return properties;
}
