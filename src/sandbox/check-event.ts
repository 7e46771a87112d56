/**
 * Checks one event resource as Klaviyo does. Limits and fields are those of Klaviyo's OpenAPI files
 * and its Events API overview; revisions.ts has what differs between revisions.
 */

import { isJsonObject } from '../json/json.js';
import type { JsonObject } from '../json/json.js';
import type { IssueCollector } from './issues.js';
import { isNotNullish, isTextUpTo } from './check-profile.js';
import { checkMemberNames, checkNested, checkResource } from './check-value.js';
import type { Revision } from './revisions.js';

/** The checked content of one event. Absent and null are the same. */
export type EventInput = {
  readonly metric: string;
  /** As sent; null if Klaviyo sets the time. */
  readonly time: string | null;
  /** Epoch ms. */
  readonly timeMs: number | null;
  readonly uniqueId: string | null;
  readonly properties: JsonObject;
  readonly value: number | null;
  readonly valueCurrency: string | null;
  /** Null if the event does not set it. */
  readonly backfill: boolean | null;
  readonly attributes: JsonObject;
};

/** The facts about the request that decide how an event is checked. */
export type EventRules = {
  /** Epoch ms. */
  readonly now: number;
  readonly revision: Revision;
  /** True for `POST /api/events`, where the profile is an attribute of the event. */
  readonly withProfile: boolean;
};

const fields = ['properties', 'time', 'value', 'value_currency', 'unique_id', 'metric'];
const resourceMembers = new Set(['type', 'attributes']);
const metricMembers = new Set(['type', 'attributes']);
const metricFields = new Set(['name', 'service']);
const dataMember = new Set(['data']);
/**
 * ISO 8601 with upper-case T and Z, seconds and an offset. Unix time is invalid (OpenAPI:
 * `date-time`).
 */
const timePattern =
  /^(\d{4})-(0[1-9]|1[0-2])-(\d{2})T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d+)?(?:Z|[+-](?:[01]\d|2[0-3]):[0-5]\d)$/;

/**
 * Returns epoch ms, or undefined if the text is not an ISO 8601 time with an upper-case T and an
 * offset.
 */
export function parseTimeMs(text: string): number | undefined {
  const [, year, month, day] = timePattern.exec(text) ?? [];
  if (day === undefined) return undefined;
  // Date.parse accepts the 30th of February as the 1st of March.
  if (Number(day) > 28 || day === '00') {
    const lastDay = new Date(Date.UTC(Number(year), Number(month), 0)).getUTCDate();
    if (Number(day) < 1 || Number(day) > lastDay) return undefined;
  }
  return Date.parse(text);
}

/** Checks one event resource. Returns undefined if a required part is missing. */
export function checkEvent(
  value: unknown,
  rules: EventRules,
  issues: IssueCollector,
): EventInput | undefined {
  const found = checkResource(value, { type: 'event', members: resourceMembers }, issues);
  if (found === undefined) return undefined;
  let input: EventInput | undefined;
  issues.within(['attributes'], () => {
    input = checkEventAttributes(found.attributes, rules, issues);
  });
  return input;
}

function checkEventAttributes(
  attributes: JsonObject,
  rules: EventRules,
  issues: IssueCollector,
): EventInput | undefined {
  checkMemberNames(attributes, { fields: getEventFields(rules), resource: 'event' }, issues);
  const timeMs = checkTime(attributes.time, rules, issues);
  checkScalars(attributes, issues);
  const metric = checkMetric(attributes.metric, issues);
  const properties = checkEventProperties(attributes.properties, rules.revision, issues);
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

/** The sets are created once, because a full request holds a thousand events. */
function getEventFields(rules: EventRules): ReadonlySet<string> {
  return eventFields[rules.withProfile ? 1 : 0][rules.revision.takesBackfill ? 1 : 0];
}

const eventFields = [
  [new Set(fields), new Set([...fields, 'backfill'])],
  [new Set([...fields, 'profile']), new Set([...fields, 'profile', 'backfill'])],
] as const;

/**
 * Returns epoch ms, or null without a valid ISO 8601 time. The time must be between the revision's
 * earliest year and one year from now.
 */
function checkTime(
  time: unknown,
  { now, revision }: EventRules,
  issues: IssueCollector,
): number | null {
  if (!isNotNullish(time)) return null;
  const at = typeof time === 'string' ? parseTimeMs(time) : undefined;
  if (at === undefined) {
    issues.add(
      'Invalid time format. It must be ISO 8601 (Example: 2022-11-08T00:00:00+00:00).',
      'time',
    );
    return null;
  }
  const year = revision.earliestEventYear;
  if (at < Date.UTC(year, 0, 1) || at > getLatestTimeMs(now)) {
    issues.add(`time must be between the year ${year} and one year from now.`, 'time');
  }
  return at;
}

function getLatestTimeMs(now: number): number {
  const latest = new Date(now);
  return latest.setUTCFullYear(latest.getUTCFullYear() + 1);
}

function checkScalars(attributes: JsonObject, issues: IssueCollector): void {
  const { unique_id: uniqueId, value, value_currency: currency, backfill } = attributes;
  if (isNotNullish(uniqueId) && !isTextUpTo(uniqueId, 255)) {
    issues.add('unique_id must be a string of 1 to 255 characters.', 'unique_id');
  }
  if (isNotNullish(value) && typeof value !== 'number')
    issues.add('value must be a number.', 'value');
  if (isNotNullish(currency) && !(typeof currency === 'string' && /^[A-Z]{3}$/.test(currency))) {
    issues.add('value_currency must be an ISO 4217 code (Example: USD).', 'value_currency');
  }
  if (isNotNullish(backfill) && typeof backfill !== 'boolean') {
    issues.add('backfill must be true or false.', 'backfill');
  }
}

/** Returns the name, or undefined if it is invalid. */
function checkMetric(metric: unknown, issues: IssueCollector): string | undefined {
  let name: unknown;
  issues.within(['metric'], () => {
    if (!isJsonObject(metric)) {
      issues.add("The field 'metric' is required.");
      return;
    }
    checkMemberNames(metric, { fields: dataMember, resource: 'metric' }, issues);
    issues.within(['data'], () => {
      const found = checkResource(metric.data, { type: 'metric', members: metricMembers }, issues);
      if (found === undefined) return;
      issues.within(['attributes'], () => {
        checkMemberNames(found.attributes, { fields: metricFields, resource: 'metric' }, issues);
        name = found.attributes.name;
        if (!isTextUpTo(name, 127))
          issues.add('name must be a string of 1 to 127 characters.', 'name');
      });
    });
  });
  return isTextUpTo(name, 127) ? name : undefined;
}

function checkEventProperties(
  properties: unknown,
  { maxEventProperties: max }: Revision,
  issues: IssueCollector,
): JsonObject | undefined {
  if (!isJsonObject(properties)) {
    issues.add("The field 'properties' is required and must be an object.", 'properties');
    return undefined;
  }
  issues.within(['properties'], () => {
    const count = Object.keys(properties).length;
    if (count > max) {
      issues.add(`An event must not have more than ${max} properties.`);
    } else checkNested(properties, issues);
  });
  return properties;
}
