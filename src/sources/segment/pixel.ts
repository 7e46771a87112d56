import { harmfulNames, isJsonObject, parseJson, type JsonObject } from '../../json/json.js';
import { asText } from '../json.js';

/**
 * Calls in a query, for pages and mails without JavaScript. RudderStack writes each member as a parameter
 * (`properties.path=/a`); Segment writes the whole call as JSON in `data`, optionally in Base64.
 */

/** Maximum parts of a name with dots. */
const maxLevels = 5;

type Members = Record<string, unknown>;

/** Reads the call. Parameters that are not text or have harmful names are skipped. */
export function readPixelCall(query: unknown): JsonObject {
  const given = isJsonObject(query) ? query : {};
  const call: Members = { ...readDataParameter(given.data) };
  for (const [name, value] of Object.entries(given)) {
    const path = name.split('.');
    const isValidPath = path.every((part) => part !== '' && !harmfulNames.has(part));
    if (name === 'data' || typeof value !== 'string' || !isValidPath || path.length > maxLevels)
      continue;
    setMember(call, path, value);
  }
  return call;
}

function setMember(call: Members, path: readonly string[], value: string): void {
  let holder = call;
  for (const name of path.slice(0, -1)) {
    const before = holder[name];
    const next: Members = isJsonObject(before) ? { ...before } : {};
    holder[name] = next;
    holder = next;
  }
  holder[path.at(-1) ?? ''] = value;
}

function readDataParameter(data: unknown): JsonObject {
  const text = asText(data)?.trim();
  if (text === undefined) return {};
  const json = text.startsWith('{') ? text : Buffer.from(text, 'base64').toString('utf8');
  const parsed = parseJson(json);
  const isRead = parsed.ok && parsed.issues.length === 0 && isJsonObject(parsed.value);
  return isRead ? parsed.value : {};
}

/** One transparent pixel. */
export const pixelImage = Buffer.from(
  'R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7',
  'base64',
);
