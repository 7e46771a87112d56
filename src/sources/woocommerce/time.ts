import type { JsonObject } from '../../json/json.js';
import type { SourceWarning } from '../../ingest/source-entry.js';
import { asText } from '../json.js';
import { readTime } from '../time.js';

/** A time for an event, and what could not be read for it. */
export type WooTime = {
  readonly fields: { readonly event_time?: string };
  /** Texts that could not be read, by the field's name. */
  readonly kept: JsonObject;
  readonly warnings: readonly SourceWarning[];
};

const withZone = /(?:z|[-+]\d{2}:?\d{2})$/i;

/**
 * Reads `date_created` and its like. WooCommerce writes each twice: `date_created` in the time of the
 * shop without an offset, and `date_created_gmt`. Only the second says when it was. `names`: the
 * first that is there counts.
 */
export function readWooTime(payload: JsonObject, names: readonly string[]): WooTime {
  for (const name of names) {
    const gmt = `${name}_gmt`;
    const utc = asText(payload[gmt]);
    if (utc !== undefined) return readWooTimeText(gmt, utc);
    const local = asText(payload[name]);
    if (local !== undefined) {
      const detail = `has no offset, and there is no ${gmt}; the event has the time of its receipt`;
      return withZone.test(local)
        ? readWooTimeText(name, local)
        : {
            fields: {},
            kept: { [name]: local },
            warnings: [{ code: 'no_time_zone', pointer: `/${name}`, detail }],
          };
    }
  }
  return { fields: {}, kept: {}, warnings: [] };
}

function readWooTimeText(name: string, text: string): WooTime {
  const time = readTime(text);
  if (time.kind === 'read') {
    return { fields: { event_time: new Date(time.at).toISOString() }, kept: {}, warnings: [] };
  }
  const detail = `${time.kind === 'unreadable' ? time.detail : 'is no time'}; the event has the time of its receipt`;
  return {
    fields: {},
    kept: { [name]: text },
    warnings: [{ code: 'unreadable_time', pointer: `/${name}`, detail }],
  };
}
