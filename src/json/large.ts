import { harmfulNames, maxDepth, parseJson, type Parsed } from './json.js';
import { endOfString, type JsonIssue, type PathSegment } from './scan.js';

/** A text up to this is parsed in one go: it takes some milliseconds, whatever is in it. */
export const smallChars = 16_384;

/** An array or object that is being read: how many members it has so far. */
export type Container = {
  readonly path: readonly PathSegment[];
  readonly isArray: boolean;
  readonly count: number;
  /** Values in the text so far, those inside of others included. */
  readonly total: number;
};

/** Why the container need not be read any further; null while nothing is wrong with it. */
export type FindExcess = (container: Container) => string | null;

/**
 * `parseJson` for a text of any length, in steps of some milliseconds. It cuts a long array or object
 * after each `smallChars` characters and gives the parts to `parseJson`. A part that is one long array or
 * object is cut in turn. The rest of a container with an excess is skipped: it is a fault, and null.
 * `shift`: see `parseJson`.
 */
export function* parseInSteps(
  text: string,
  findExcess: FindExcess,
  shift = 0,
): Generator<undefined, Parsed> {
  const open = skipBlanks(text, 0);
  if (text.length <= smallChars || !isOpening(text.charCodeAt(open))) return parseJson(text, shift);
  const reader = new Reader(text, findExcess, shift);
  const value = yield* reader.read(open, []);
  if (!reader.hasStopped && skipBlanks(text, reader.at) < text.length) {
    reader.stopAt(skipBlanks(text, reader.at));
  }
  return reader.stopped ?? { ok: true, value, issues: reader.faults };
}

/** Whether a path leads to this container, or to something in it. */
function isInside(path: readonly PathSegment[] | null, container: readonly PathSegment[]): boolean {
  return path !== null && container.every((segment, at) => path[at] === segment);
}

/** Faults of a text that are kept: those of the parts are bounded by themselves. */
const maxFaults = 1000;

class Reader {
  readonly faults: JsonIssue[] = [];
  /** One after the container that was read last. */
  at = 0;
  stopped: Parsed | null = null;
  readonly #text: string;
  readonly #findExcess: FindExcess;
  readonly #shift: number;
  #total = 0;
  /** Where the latest excess was; null where there was none. */
  #excess: readonly PathSegment[] | null = null;

  constructor(text: string, findExcess: FindExcess, shift: number) {
    this.#text = text;
    this.#findExcess = findExcess;
    this.#shift = shift;
  }

  get hasStopped(): boolean {
    return this.stopped !== null;
  }

  /** Not JSON: the character at this place. */
  stopAt(at: number): void {
    const detail =
      at >= this.#text.length
        ? 'is not valid JSON: it ends early'
        : `is not valid JSON: see character ${this.#shift + at + 1}`;
    this.stopped = { ok: false, issue: { path: [], detail } };
  }

  /** The array or object that opens at this place. */
  *read(open: number, path: readonly PathSegment[]): Generator<undefined, unknown> {
    const isArray = this.#text.charCodeAt(open) === openBracket;
    const members = isArray ? new Elements() : new Members();
    for (let from = open + 1; ;) {
      const part = findPart(this.#text, from);
      // To look for its end was work for a step of its own.
      if (part.to - from > smallChars) yield;
      const inner = part.count === 1 ? findInner(this.#text, from, { part, isArray }) : null;
      if (inner === null) this.#parse({ open, from, to: part.to }, members, path);
      else yield* this.#descend({ ...inner, to: part.to }, members, path);
      if (this.hasStopped) return undefined;
      if (inner === null) this.#total += part.values;
      const counted = { path, isArray, count: members.count, total: this.#total };
      yield;
      if (this.#isExcess(counted)) {
        yield;
        this.at = part.closes ? part.to + 1 : findEnd(this.#text, part.to + 1);
        return null;
      }
      if (part.closes) {
        const isMatch = this.#text.charCodeAt(part.to) === (isArray ? closeBracket : closeBrace);
        if (!isMatch) this.stopAt(part.to);
        this.at = part.to + 1;
        return members.value;
      }
      from = part.to + 1;
    }
  }

  /** Some neighbours, none of which is long, or text that is not JSON. */
  #parse(
    { open, from, to }: { readonly open: number; readonly from: number; readonly to: number },
    members: Elements | Members,
    path: readonly PathSegment[],
  ): void {
    const [before, after] = this.#text.charCodeAt(open) === openBracket ? ['[', ']'] : ['{', '}'];
    // A container that is not closed keeps its end open: that is what is wrong with it.
    const closing = to < this.#text.length ? after : '';
    const part = `${before}${this.#text.slice(from, to)}${closing}`;
    const parsed = parseJson(part, this.#shift + from - 1, path.length);
    if (!parsed.ok) {
      this.stopped = parsed;
      return;
    }
    const base = members.count;
    for (const { path: inside, detail } of parsed.issues) {
      const [first, ...others] = inside;
      const segments =
        first === undefined ? [] : [typeof first === 'number' ? base + first : first, ...others];
      this.#report({ path: [...path, ...segments], detail });
    }
    for (const name of members.addAll(parsed.value)) {
      this.#report({ path: [...path, name], detail: 'is given more than once' });
    }
  }

  *#descend(
    { open, name, to }: Inner & Pick<Part, 'to'>,
    members: Elements | Members,
    path: readonly PathSegment[],
  ): Generator<undefined, void> {
    const segment = name ?? members.count;
    const inside = [...path, segment];
    const isArray = this.#text.charCodeAt(open) === openBracket;
    let value: unknown = null;
    if (this.#isExcess({ path: inside, isArray, count: 0, total: this.#total })) {
      yield;
      this.at = findEnd(this.#text, open + 1);
      yield;
    } else value = yield* this.read(open, inside);
    if (this.hasStopped) return;
    const rest = skipBlanks(this.#text, this.at);
    if (rest < to) {
      this.stopAt(rest);
      return;
    }
    if (name !== null && harmfulNames.has(name)) {
      this.#report({ path: inside, detail: 'is a name that is not allowed' });
    }
    if (!members.add(value, name)) {
      this.#report({ path: inside, detail: 'is given more than once' });
    }
  }

  #isExcess(container: Container): boolean {
    const { path } = container;
    const detail =
      path.length >= maxDepth
        ? `is nested deeper than ${maxDepth} levels`
        : this.#findExcess(container);
    if (detail === null) return false;
    // What is too much in here may be what was told of a container inside of it.
    if (!isInside(this.#excess, path)) this.#report({ path, detail });
    this.#excess = path;
    return true;
  }

  #report(fault: JsonIssue): void {
    if (this.faults.length < maxFaults) this.faults.push(fault);
  }
}

class Elements {
  readonly value: unknown[] = [];

  get count(): number {
    return this.value.length;
  }

  add(element: unknown): boolean {
    this.value.push(element);
    return true;
  }

  /** The names that were there before: an array has none. */
  addAll(part: unknown): readonly string[] {
    for (const element of part as readonly unknown[]) this.value.push(element);
    return [];
  }
}

class Members {
  readonly value: Record<string, unknown> = {};
  count = 0;

  add(member: unknown, name: string | null): boolean {
    this.count++;
    // A harmful name is reported, and nothing is ever assigned by it.
    if (name === null || harmfulNames.has(name)) return true;
    const isNew = !Object.hasOwn(this.value, name);
    this.value[name] = member;
    return isNew;
  }

  addAll(part: unknown): readonly string[] {
    const repeated: string[] = [];
    const members = part as Readonly<Record<string, unknown>>;
    for (const name in members) {
      if (!this.add(members[name], name)) repeated.push(name);
    }
    return repeated;
  }
}

// Characters by their codes: what follows runs for every character.
const [tab, lineFeed, carriageReturn, space] = [0x09, 0x0a, 0x0d, 0x20];
const [quote, comma, colon] = [0x22, 0x2c, 0x3a];
const [openBracket, closeBracket, openBrace, closeBrace] = [0x5b, 0x5d, 0x7b, 0x7d];

/** Some neighbours in a container: up to the comma or the closing bracket at `to`. */
type Part = {
  readonly to: number;
  /** The container ends here. */
  readonly closes: boolean;
  /** Members. One: it is long, or the last. */
  readonly count: number;
  /** Members, and what is inside of them. */
  readonly values: number;
};

/** A part is some `smallChars` long, or it is one longer member. */
function findPart(text: string, from: number): Part {
  let depth = 0;
  let commas = 0;
  let lastComma = -1;
  let values = 1;
  for (let at = from; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code === quote) at = endOfString(text, at) - 1;
    else if (code === openBracket || code === openBrace) {
      depth++;
      values++;
    } else if (code === closeBracket || code === closeBrace) {
      if (depth-- > 0) continue;
      return toPart({ at, lastComma, commas, values }, true);
    } else if (code === comma) {
      values++;
      if (depth > 0 || !isMember(text, at + 1)) continue;
      if (at - from >= smallChars) return toPart({ at, lastComma, commas, values }, false);
      commas++;
      lastComma = at;
    }
  }
  return toPart({ at: text.length, lastComma, commas, values }, true);
}

/** One after the bracket that closes the container; the end of the text where none does. */
function findEnd(text: string, from: number): number {
  let depth = 0;
  for (let at = from; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code === quote) at = endOfString(text, at) - 1;
    else if (code === openBracket || code === openBrace) depth++;
    else if ((code === closeBracket || code === closeBrace) && depth-- === 0) return at + 1;
  }
  return text.length;
}

type Found = {
  readonly at: number;
  readonly lastComma: number;
  readonly commas: number;
  readonly values: number;
};

/** Where the last member is a long one, those before it are a part of their own. */
function toPart({ at, lastComma, commas, values }: Found, closes: boolean): Part {
  if (lastComma > 0 && at - lastComma > smallChars) {
    return { to: lastComma, closes: false, count: commas, values: commas };
  }
  return { to: at, closes, count: commas + 1, values };
}

/** Where a member is missing, nothing is cut: JSON.parse says so, and where. */
function isMember(text: string, from: number): boolean {
  const code = text.charCodeAt(skipBlanks(text, from));
  return code !== comma && code !== closeBracket && code !== closeBrace;
}

/** A long array or object that is a member; its name in an object. */
type Inner = { readonly open: number; readonly name: string | null };

function findInner(
  text: string,
  from: number,
  { part, isArray }: { readonly part: Part; readonly isArray: boolean },
): Inner | null {
  if (part.to - from <= smallChars) return null;
  const start = skipBlanks(text, from);
  if (isArray) return isOpening(text.charCodeAt(start)) ? { open: start, name: null } : null;
  if (text.charCodeAt(start) !== quote) return null;
  const end = endOfString(text, start);
  const between = skipBlanks(text, end);
  const open = skipBlanks(text, between + 1);
  if (text.charCodeAt(between) !== colon || !isOpening(text.charCodeAt(open))) return null;
  const parsed = parseJson(text.slice(start, end));
  // A name with a fault is found by the parser of the whole part.
  return parsed.ok && parsed.issues.length === 0 && typeof parsed.value === 'string'
    ? { open, name: parsed.value }
    : null;
}

function isOpening(code: number): boolean {
  return code === openBracket || code === openBrace;
}

/** The first character from here on that is no blank; the end where there is none. */
export function skipBlanks(text: string, from: number): number {
  let at = from;
  for (; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code !== space && code !== lineFeed && code !== carriageReturn && code !== tab) break;
  }
  return at;
}
