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

/** A JSON object as it came. Never assign to it by a name from outside. */
export type JsonObject = Readonly<Record<string, unknown>>;

/**
 * `faults`: the text is JSON, but at these places it says something no two readers agree on, or that
 * would do harm. Who reads a list can refuse the entries at fault alone. `ok: false`: it is not JSON.
 */
export type Parsed =
  | { readonly ok: true; readonly value: unknown; readonly issues: readonly JsonIssue[] }
  | { readonly ok: false; readonly issue: JsonIssue };

/** More faults than this are not listed one by one: a small text must not cause a huge answer. */
const maxFaults = 10_000;

/**
 * JSON.parse, and what it lets pass: repeated names, `__proto__` and its like, numbers that overflow,
 * halves of surrogate pairs, nesting below `maxDepth`. Integers beyond ±(2^53 - 1) come back as
 * ExactInteger. Never throws. The exact scan runs only where a cheap count says it may find something.
 * `shift`: characters that were left out before the text, for the place of a fault in the whole.
 * `depth`: containers around the text, which count as levels.
 */
export function parseJson(text: string, shift = 0, depth = 0): Parsed {
  if (isHopelesslyDeep(text)) return refuse(`is nested deeper than ${maxDepth} levels`);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    return refuse(toSyntaxDetail(text, error, shift));
  }
  const walk: Walk = {
    path: [],
    depth,
    faults: [],
    checksText: maybeLoneSurrogate.test(text),
    nameCount: 0,
    hasRounded: false,
  };
  inspect(value, walk);
  if (walk.hasRounded || walk.nameCount !== countNamePlaces(text)) {
    value = scanExactly(text, value, (fault) => report(walk, fault));
  }
  return { ok: true, value, issues: walk.faults };
}

/** JSON.stringify that writes an ExactInteger as the number it is. */
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

type Walk = {
  /** Where the walk is. Changed in place: this runs for every value of every request. */
  readonly path: PathSegment[];
  readonly depth: number;
  readonly faults: JsonIssue[];
  readonly checksText: boolean;
  nameCount: number;
  hasRounded: boolean;
};

/** Any surrogate, raw or escaped: what follows is slower, and most texts have none. */
const maybeLoneSurrogate = /\\u[dD][89a-fA-F]|[\ud800-\udfff]/;
const loneSurrogate = /\p{Surrogate}/u;
/** Names that reach an object's prototype where code assigns by name, here or further on. */
export const harmfulNames: ReadonlySet<string> = new Set(['__proto__', 'constructor', 'prototype']);

function inspect(value: unknown, walk: Walk): void {
  if (typeof value === 'string') {
    if (walk.checksText) inspectText(value, walk);
  } else if (typeof value === 'number') {
    if (!Number.isFinite(value)) reportHere(walk, 'is too large a number');
    else if (isRounded(value)) walk.hasRounded = true;
  } else if (typeof value === 'object' && value !== null) {
    if (walk.depth + walk.path.length >= maxDepth)
      reportHere(walk, `is nested deeper than ${maxDepth} levels`);
    else if (Array.isArray(value)) inspectArray(value, walk);
    else if (isJsonObject(value)) inspectObject(value, walk);
  }
}

function inspectArray(values: readonly unknown[], walk: Walk): void {
  for (let index = 0; index < values.length; index++) {
    walk.path.push(index);
    inspect(values[index], walk);
    walk.path.pop();
  }
}

function inspectObject(object: JsonObject, walk: Walk): void {
  // What was parsed has no inherited names, and a list of its own ones would be made for each object.
  for (const name in object) {
    walk.nameCount++;
    walk.path.push(name);
    if (harmfulNames.has(name)) reportHere(walk, 'is a name that is not allowed');
    if (walk.checksText) inspectText(name, walk);
    inspect(object[name], walk);
    walk.path.pop();
  }
}

function inspectText(text: string, walk: Walk): void {
  if (loneSurrogate.test(text)) {
    reportHere(walk, 'holds half of a surrogate pair, which is not Unicode text');
  }
}

function reportHere(walk: Walk, detail: string): void {
  report(walk, { path: [...walk.path], detail });
}

function report(walk: Walk, fault: JsonIssue): void {
  if (walk.faults.length < maxFaults) walk.faults.push(fault);
  // At the root it refuses the whole text, so that nothing unlisted gets through.
  else if (walk.faults.length === maxFaults) {
    walk.faults.push({ path: [], detail: 'has more faults than can be listed' });
  }
}

/** Colons that follow a quote: every name's, and those inside strings that look like it. */
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

/** JSON.parse takes any depth, but slowly: seconds for five megabytes of brackets. */
const hopelessDepth = 20_000;

function isHopelesslyDeep(text: string): boolean {
  if (text.length < hopelessDepth) return false;
  let depth = 0;
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code === 34) at = endOfString(text, at) - 1;
    else if (code === 91 || code === 123) {
      if (++depth > hopelessDepth) return true;
    } else if (code === 93 || code === 125) depth--;
  }
  return false;
}

function refuse(detail: string): Parsed {
  return { ok: false, issue: { path: [], detail } };
}

/** In our words: those of JSON.parse quote the text, and it may hold personal data. */
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
