import type { SourceEntry, SourceWarning } from '../../ingest/source-entry.js';
import type { JsonObject } from '../../json/json.js';
import { readTime } from '../time.js';

/** What an event gets from some fields of a payload. */
export type Reading = {
  /** Fields of the event, such as `value`. */
  readonly fields: JsonObject;
  /** The text of what could not be read, under Shopify's name. */
  readonly unread: JsonObject;
  readonly warnings: readonly SourceWarning[];
};

export const nothingRead: Reading = { fields: {}, unread: {}, warnings: [] };

export function joinReadings(...readings: readonly Reading[]): Reading {
  return {
    fields: Object.assign({}, ...readings.map(({ fields }) => fields)) as JsonObject,
    unread: Object.assign({}, ...readings.map(({ unread }) => unread)) as JsonObject,
    warnings: readings.flatMap(({ warnings }) => warnings),
  };
}

/** For an entry. */
export function toWarnings({ warnings }: Reading): Pick<SourceEntry, 'warnings'> {
  return warnings.length === 0 ? {} : { warnings };
}

/**
 * Reads `event_time` from the first of these fields that has a time. One that is there and cannot be
 * read gives a warning. `pointer`: the place of `object` in the request.
 */
export function readShopifyTime(
  object: JsonObject,
  names: readonly string[],
  pointer = '',
): Reading {
  let reading = nothingRead;
  for (const name of names) {
    const time = readTime(object[name]);
    if (time.kind === 'read') {
      const fields = { event_time: toIso(object[name], time.at) };
      return joinReadings(reading, { ...nothingRead, fields });
    }
    if (time.kind === 'unreadable') {
      const detail = `${time.detail}; it stays as the property ${name}`;
      const warning = { code: 'unreadable_time', pointer: `${pointer}/${name}`, detail };
      reading = joinReadings(reading, {
        fields: {},
        unread: { [name]: object[name] },
        warnings: [warning],
      });
    }
  }
  return reading;
}

const isoPattern = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[-+]\d\d:\d\d)$/;

/** Shopify's own form keeps the offset of the shop. */
function toIso(value: unknown, at: number): string {
  return typeof value === 'string' && isoPattern.test(value) ? value : new Date(at).toISOString();
}
