import { isAscii } from 'node:buffer';

/**
 * A strict JSON parser, and a serialiser that keeps large integers.
 *
 * `parseJson` is JSON.parse with checks of what JSON.parse accepts although readers disagree about it, or
 * although it is harmful. It parses a text in one step and scans it exactly where a cheap check finds a
 * reason. large.ts parses a long text in steps, and cut.ts cuts a list into parts.
 */

/** A name or an index in a path. */
export type PathSegment = string | number;

/** One issue of a JSON text, and the path to it from the root. */
export type JsonIssue = { readonly path: readonly PathSegment[]; readonly detail: string };

/** Maximum number of nested containers. A deeper one is an issue. */
export const maxDepth = 64;

/** Counts the ExactIntegers that `JSON.stringify` wrote as strings, so that `stringifyJson` can detect them. */
let serialisedCount = 0;

/** An integer beyond ±(2^53 - 1). It keeps its digits, because a JavaScript number would change it. */
export class ExactInteger {
  readonly digits: string;

  constructor(digits: string) {
    this.digits = digits;
  }

  toJSON(): string {
    serialisedCount++;
    return this.digits;
  }
}

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
  const before = serialisedCount;
  const text = JSON.stringify(value);
  return serialisedCount === before ? text : stringifyExactly(value);
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

type Frame = {
  readonly container: object;
  /** The names so far; null for an array. */
  readonly names: Set<string> | null;
  /** Name or index of the current member. */
  segment: PathSegment;
};

/**
 * Scans a text that JSON.parse accepted, together with the parsed value, for the two things that
 * JSON.parse hides: repeated names, which it reports, and rounded integers, which it corrects in the value.
 * The scan is iterative and ignores containers deeper than `maxDepth`, so that no text exhausts the stack.
 */
class ExactScan {
  readonly #text: string;
  readonly #report: (issue: JsonIssue) => void;
  readonly #frames: Frame[];
  #at = 0;
  /** Open containers deeper than `maxDepth`. */
  #hidden = 0;
  #expectsName = false;

  constructor(text: string, holder: object, report: (issue: JsonIssue) => void) {
    this.#text = text;
    this.#report = report;
    this.#frames = [{ container: holder, names: null, segment: 'root' }];
  }

  run(): void {
    while (this.#at < this.#text.length) {
      const char = this.#text[this.#at];
      if (char === '"') this.#string();
      else if (char === '{' || char === '[') this.#open(char);
      else if (char === '}' || char === ']') this.#close();
      else if (char === ',') this.#next();
      else if (char === '-' || (char !== undefined && char >= '0' && char <= '9')) this.#number();
      else this.#at++;
    }
  }

  #string(): void {
    const start = this.#at;
    this.#at = endOfString(this.#text, start);
    const frame = this.#frames.at(-1);
    if (!this.#expectsName || frame?.names == null) return;
    const raw = this.#text.slice(start, this.#at);
    const name = raw.includes('\\') ? String(JSON.parse(raw)) : raw.slice(1, -1);
    this.#expectsName = false;
    frame.segment = name;
    if (frame.names.has(name)) {
      this.#report({ path: this.#path(), detail: 'is given more than once' });
    }
    frame.names.add(name);
  }

  #open(char: '{' | '['): void {
    this.#at++;
    const container = this.#current();
    if (this.#hidden > 0 || this.#frames.length > maxDepth) {
      this.#hidden++;
      this.#expectsName = false;
      return;
    }
    const names = char === '{' ? new Set<string>() : null;
    // Of a repeated name, the value holds the last member only. An empty object replaces the others.
    const known = typeof container === 'object' && container !== null ? container : {};
    this.#frames.push({ container: known, names, segment: 0 });
    this.#expectsName = names !== null;
  }

  #close(): void {
    this.#at++;
    this.#expectsName = false;
    if (this.#hidden > 0) this.#hidden--;
    else this.#frames.pop();
  }

  #next(): void {
    this.#at++;
    const frame = this.#frames.at(-1);
    if (this.#hidden > 0 || frame === undefined) return;
    if (typeof frame.segment === 'number' && frame.names === null) frame.segment++;
    else this.#expectsName = true;
  }

  #number(): void {
    const start = this.#at;
    while (numberChars.has(this.#text.charAt(this.#at))) this.#at++;
    const frame = this.#frames.at(-1);
    if (this.#hidden > 0 || frame === undefined) return;
    const digits = this.#text.slice(start, this.#at);
    const value = this.#current();
    if (Number(digits) !== value || !isRounded(value) || !/^-?\d+$/.test(digits)) return;
    // defineProperty, because an assignment to a name such as __proto__ would do something else.
    Object.defineProperty(frame.container, frame.segment, {
      value: new ExactInteger(digits),
      configurable: true,
      enumerable: true,
      writable: true,
    });
  }

  /** The parsed value at the current position. */
  #current(): unknown {
    const frame = this.#frames.at(-1);
    if (frame === undefined) return undefined;
    return Object.getOwnPropertyDescriptor(frame.container, frame.segment)?.value;
  }

  #path(): PathSegment[] {
    return this.#frames.slice(1).map((frame) => frame.segment);
  }
}

const numberChars = new Set('-+.eE0123456789');

/** Returns true if the number may differ from the integer in the text. */
function isRounded(value: number): boolean {
  return Math.abs(value) > Number.MAX_SAFE_INTEGER && Number.isFinite(value);
}

/** Reports repeated names and corrects rounded integers in place. Returns the value. */
function scanExactly(text: string, root: unknown, report: (issue: JsonIssue) => void): unknown {
  const holder = { root };
  new ExactScan(text, holder, report).run();
  return holder.root;
}

/**
 * Returns the index after the string that starts at `start`, or the length of the text if the string is not
 * closed. It loops over characters, because `indexOf` takes ten times as long in a text full of `\\"`.
 */
export function endOfString(text: string, start: number): number {
  for (let at = start + 1; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code === 34) return at + 1;
    if (code === 92) at++;
  }
  return text.length;
}

/** Decodes UTF-8 bytes. Most texts are ASCII, which decodes as latin1 in a third of the time. */
export function decodeUtf8(bytes: Buffer): string {
  return bytes.toString(isAscii(bytes) ? 'latin1' : 'utf8');
}
