import type { JsonObject } from '../../json/json.js';
import { limits } from '../../ingest/limits.js';
import type { SourceWarning } from '../../ingest/source-entry.js';
import { asText } from '../json.js';
import type { SegmentCall } from './calls.js';

export type EventName = {
  /** Undefined where the call has none. */
  readonly name: string | undefined;
  readonly warnings: readonly SourceWarning[];
  /** The whole of a name that was too long. */
  readonly kept: JsonObject;
};

/** The name of a call's metric. Klaviyo takes 127 characters. */
export function readEventName({ type, fields }: SegmentCall): EventName {
  if (type === 'track')
    return shortenEventName(asText(fields.event), { before: '', after: '' }, '/event');
  const what = type === 'page' ? 'Page' : 'Screen';
  const name = asText(fields.name);
  if (name === undefined) return { name: `Loaded a ${what}`, warnings: [], kept: {} };
  return shortenEventName(name, { before: 'Viewed ', after: ` ${what}` }, '/name');
}

function shortenEventName(
  text: string | undefined,
  { before, after }: { readonly before: string; readonly after: string },
  pointer: string,
): EventName {
  if (text === undefined) return { name: undefined, warnings: [], kept: {} };
  const whole = before + text + after;
  if (whole.length <= limits.metricNameChars) return { name: whole, warnings: [], kept: {} };
  const room = limits.metricNameChars - before.length - after.length - 1;
  // Not between the halves of a surrogate pair.
  const cut = text.slice(0, room).replace(/[\ud800-\udbff]$/, '');
  const detail = `is longer than a name of Klaviyo may be (${limits.metricNameChars} characters with what is added): it was shortened, and the whole is kept as the property event_name_full`;
  return {
    name: `${before}${cut.trimEnd()}…${after}`,
    warnings: [{ code: 'name_shortened', pointer, detail }],
    kept: { event_name_full: whole },
  };
}
