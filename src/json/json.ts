import {
  endOfString,
  ExactInteger,
  exactIntegersSerialised,
  isRounded,
  maxDepth,
  scanExactly,
  type JsonIssue,
  type PathSegment,
} from './scan.js';

export { ExactInteger, maxDepth, type JsonIssue, type PathSegment };

/**
 * A strict JSON parser, and a serialiser that keeps large integers.
 *
 * `parseJson` is JSON.parse with checks of what JSON.parse accepts although readers disagree about it, or
 * although it is harmful. json.ts parses a text in one step, large.ts parses a long text in steps, scan.ts
 * is the exact scan that few texts need, and cut.ts cuts a list into parts.
 */

/** A parsed JSON object. Never assign to it by a name from outside. */
export type JsonObject = Readonly<Record<string, unknown>>;

/**
 * `ok: false`: the text is not JSON. `issues`: the places where the text is JSON, but harmful or read
 * differently by different parsers. A reader of a list can reject only the entries with issues.
 */
export type Parsed =
  | { readonly ok: true; readonly value: unknown; readonly issues: readonly JsonIssue[] }
  | { readonly ok: false; readonly issue: JsonIssue };

/** Bound of the listed issues, so that a small text cannot cause a huge response. */
const maxIssues = 10_000;

/**
 * Parses a text. Reports what JSON.parse accepts in silence: repeated names, names such as `__proto__`,
 * numbers that overflow, lone surrogates, and nesting deeper than `maxDepth`. Integers beyond ±(2^53 - 1)
 * are returned as ExactInteger. Never throws. The exact scan runs only if a cheap check finds a reason.
 *
 * `shift`: number of characters before the text in the whole body, for the position in an error.
 * `depth`: number of containers around the text; they count as levels.
 */
export function parseJson(text: string, shift = 0, depth = 0): Parsed {
  if (isTooDeepToParse(text)) return toSyntaxIssue(`is nested deeper than ${maxDepth} levels`);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    return toSyntaxIssue(toSyntaxDetail(text, error, shift));
  }
  const inspection: Inspection = {
    path: [],
    depth,
    issues: [],
    checksText: maybeLoneSurrogate.test(text),
    nameCount: 0,
    hasRounded: false,
  };
  inspect(value, inspection);
  if (inspection.hasRounded || inspection.nameCount !== countNamePlaces(text)) {
    value = scanExactly(text, value, (issue) => addIssue(inspection, issue));
  }
  return { ok: true, value, issues: inspection.issues };
}

/** JSON.stringify that writes an ExactInteger as a number. */
export function stringifyJson(value: unknown): string {
  const before = exactIntegersSerialised();
  const text = JSON.stringify(value);
  return exactIntegersSerialised() === before ? text : stringifyExactly(value);
}

export function isJsonObject(value: unknown): value is JsonObject {
  return (
    typeof value === 'object' &&
    value !== null &&
    !Array.isArray(value) &&
    !(value instanceof ExactInteger)
  );
}

export function isGiven<T>(value: T): value is NonNullable<T> {
  return value !== null && value !== undefined;
}

function stringifyExactly(value: unknown): string {
  if (value instanceof ExactInteger) return value.digits;
  if (Array.isArray(value)) return `[${value.map(stringifyExactly).join(',')}]`;
  if (!isJsonObject(value)) return JSON.stringify(value);
  const members = Object.entries(value).filter(([, member]) => member !== undefined);
  return `{${members.map(([name, member]) => `${JSON.stringify(name)}:${stringifyExactly(member)}`).join(',')}}`;
}

type Inspection = {
  /** Path of the current value. Changed in place, because this runs for every value of every request. */
  readonly path: PathSegment[];
  readonly depth: number;
  readonly issues: JsonIssue[];
  readonly checksText: boolean;
  nameCount: number;
  hasRounded: boolean;
};

/** Matches any surrogate, raw or escaped. Most texts have none and need no check of each string. */
const maybeLoneSurrogate = /\\u[dD][89a-fA-F]|[\ud800-\udfff]/;
const loneSurrogate = /\p{Surrogate}/u;
/** Names that reach an object's prototype if code assigns by name, in the relay or behind it. */
export const harmfulNames: ReadonlySet<string> = new Set(['__proto__', 'constructor', 'prototype']);

function inspect(value: unknown, inspection: Inspection): void {
  if (typeof value === 'string') {
    if (inspection.checksText) inspectText(value, inspection);
  } else if (typeof value === 'number') {
    if (!Number.isFinite(value)) addIssueHere(inspection, 'is too large a number');
    else if (isRounded(value)) inspection.hasRounded = true;
  } else if (typeof value === 'object' && value !== null) {
    if (inspection.depth + inspection.path.length >= maxDepth)
      addIssueHere(inspection, `is nested deeper than ${maxDepth} levels`);
    else if (Array.isArray(value)) inspectArray(value, inspection);
    else if (isJsonObject(value)) inspectObject(value, inspection);
  }
}

function inspectArray(values: readonly unknown[], inspection: Inspection): void {
  for (let index = 0; index < values.length; index++) {
    inspection.path.push(index);
    inspect(values[index], inspection);
    inspection.path.pop();
  }
}

function inspectObject(object: JsonObject, inspection: Inspection): void {
  // A parsed object has no inherited names. Object.keys would allocate a list for each object.
  for (const name in object) {
    inspection.nameCount++;
    inspection.path.push(name);
    if (harmfulNames.has(name)) addIssueHere(inspection, 'is a name that is not allowed');
    if (inspection.checksText) inspectText(name, inspection);
    inspect(object[name], inspection);
    inspection.path.pop();
  }
}

function inspectText(text: string, inspection: Inspection): void {
  if (loneSurrogate.test(text)) {
    addIssueHere(inspection, 'holds half of a surrogate pair, which is not Unicode text');
  }
}

function addIssueHere(inspection: Inspection, detail: string): void {
  addIssue(inspection, { path: [...inspection.path], detail });
}

function addIssue(inspection: Inspection, issue: JsonIssue): void {
  if (inspection.issues.length < maxIssues) inspection.issues.push(issue);
  // An issue at the root rejects the whole text, so that no entry with an unlisted issue is accepted.
  else if (inspection.issues.length === maxIssues) {
    inspection.issues.push({ path: [], detail: 'has more faults than can be listed' });
  }
}

/** Counts the colons after a quote: one for each name, and similar ones inside strings. */
function countNamePlaces(text: string): number {
  let count = 0;
  for (let at = text.indexOf(':'); at !== -1; at = text.indexOf(':', at + 1)) {
    let before = at - 1;
    while (isSpace(text.charCodeAt(before))) before--;
    if (text.charCodeAt(before) === 34) count++;
  }
  return count;
}

function isSpace(code: number): boolean {
  return code === 32 || code === 10 || code === 13 || code === 9;
}

/** JSON.parse accepts any depth, but takes seconds for five megabytes of brackets. */
const maxParsedDepth = 20_000;

function isTooDeepToParse(text: string): boolean {
  if (text.length < maxParsedDepth) return false;
  let depth = 0;
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code === 34) at = endOfString(text, at) - 1;
    else if (code === 91 || code === 123) {
      if (++depth > maxParsedDepth) return true;
    } else if (code === 93 || code === 125) depth--;
  }
  return false;
}

function toSyntaxIssue(detail: string): Parsed {
  return { ok: false, issue: { path: [], detail } };
}

/** The messages of JSON.parse quote the text, which may hold personal data, so only the position is taken from them. */
function toSyntaxDetail(text: string, error: unknown, shift: number): string {
  if (text.trim() === '') return 'is empty';
  if (text.startsWith('\ufeff')) return 'is not valid JSON: it starts with a byte order mark';
  const message = error instanceof Error ? error.message : '';
  const position = / position (\d+)/.exec(message)?.[1];
  if (position !== undefined) {
    return `is not valid JSON: see character ${shift + Number(position) + 1}`;
  }
  return message.includes('end of JSON') ? 'is not valid JSON: it ends early' : 'is not valid JSON';
}
