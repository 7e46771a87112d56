import {
  endOfString,
  harmfulNames,
  type JsonIssue,
  maxDepth,
  type Parsed,
  parseJson,
  type PathSegment,
} from './json.js';

/** A text of at most this length is parsed in one step, which takes at most some milliseconds. */
export const smallChars = 16_384;

/** An array or object that is being read. */
export type Container = {
  readonly path: readonly PathSegment[];
  readonly isArray: boolean;
  /** Members so far. */
  readonly count: number;
  /** Values in the whole text so far, nested ones included. */
  readonly total: number;
};

/** Returns why the rest of the container need not be read, or null while it is within its bounds. */
export type FindExcess = (container: Container) => string | null;

/**
 * `parseJson` for a text of any length, in steps of some milliseconds, so that the event loop can run
 * between them. A long array or object is cut after every `smallChars` characters, and `parseJson` parses
 * each part. A part that is one long array or object is cut in the same way. If `findExcess` returns a
 * detail for a container, the rest of the container is skipped, its value is null, and the detail is
 * reported as an issue. `shift`: see `parseJson`.
 */
export function* parseInSteps(
  text: string,
  findExcess: FindExcess,
  shift = 0,
): Generator<undefined, Parsed> {
  const open = skipBlanks(text, 0);
  if (text.length <= smallChars || !isOpening(text.charCodeAt(open))) return parseJson(text, shift);
  const reader = new ContainerReader(text, findExcess, shift);
  const value = yield* reader.read(open, []);
  if (!reader.hasStopped && skipBlanks(text, reader.at) < text.length) {
    reader.stopAt(skipBlanks(text, reader.at));
  }
  return reader.stopped ?? { ok: true, value, issues: reader.issues };
}

/** Returns true if the path leads to this container or into it. */
function isInside(path: readonly PathSegment[] | null, container: readonly PathSegment[]): boolean {
  return path !== null && container.every((segment, at) => path[at] === segment);
}

/** Bound of the issues of a text. `parseJson` bounds those of each part. */
const maxIssues = 1000;

class ContainerReader {
  readonly issues: JsonIssue[] = [];
  /** Index after the container that was read last. */
  at = 0;
  stopped: Parsed | null = null;
  readonly #text: string;
  readonly #findExcess: FindExcess;
  readonly #shift: number;
  #total = 0;
  /** Path of the latest excess. */
  #excess: readonly PathSegment[] | null = null;

  constructor(text: string, findExcess: FindExcess, shift: number) {
    this.#text = text;
    this.#findExcess = findExcess;
    this.#shift = shift;
  }

  get hasStopped(): boolean {
    return this.stopped !== null;
  }

  /** Stops, because the character at this index makes the text invalid JSON. */
  stopAt(at: number): void {
    const detail =
      at >= this.#text.length
        ? 'is not valid JSON: it ends early'
        : `is not valid JSON: see character ${this.#shift + at + 1}`;
    this.stopped = { ok: false, issue: { path: [], detail } };
  }

  /** Reads the array or object that opens at this index. */
  *read(open: number, path: readonly PathSegment[]): Generator<undefined, unknown> {
    const isArray = this.#text.charCodeAt(open) === openBracket;
    const members = isArray ? new Elements() : new Members();
    for (let from = open + 1; ;) {
      const part = findPart(this.#text, from);
      // The search for the end of a long part is a step of its own.
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
        this.at = part.closes ? part.to + 1 : findContainerEnd(this.#text, part.to + 1);
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

  /** Parses consecutive members, none of which is a long container. */
  #parse(
    { open, from, to }: { readonly open: number; readonly from: number; readonly to: number },
    members: Elements | Members,
    path: readonly PathSegment[],
  ): void {
    const [before, after] = this.#text.charCodeAt(open) === openBracket ? ['[', ']'] : ['{', '}'];
    // A container without a closing bracket stays open, so that `parseJson` reports it.
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
      this.at = findContainerEnd(this.#text, open + 1);
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
    // The values that exceed a bound here may be those of an inner container that was reported already.
    if (!isInside(this.#excess, path)) this.#report({ path, detail });
    this.#excess = path;
    return true;
  }

  #report(issue: JsonIssue): void {
    if (this.issues.length < maxIssues) this.issues.push(issue);
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

  /** Returns the repeated names. An array has none. */
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
    // A harmful name is reported elsewhere. Nothing is assigned by it.
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

// Codes of characters. The loops below run for every character.
const [tab, lineFeed, carriageReturn, space] = [0x09, 0x0a, 0x0d, 0x20];
const [quote, comma, colon] = [0x22, 0x2c, 0x3a];
const [openBracket, closeBracket, openBrace, closeBrace] = [0x5b, 0x5d, 0x7b, 0x7d];

/** Consecutive members of a container, up to the comma or the closing bracket at `to`. */
type Part = {
  readonly to: number;
  /** True: the container ends with this part. */
  readonly closes: boolean;
  /** Number of members. A part of one member holds a long member or the last one. */
  readonly count: number;
  /** Number of values, nested ones included. */
  readonly values: number;
};

/** Finds the next part: about `smallChars` characters, or one longer member. */
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

/** Returns the index after the closing bracket of the container, or the length of the text if there is none. */
function findContainerEnd(text: string, from: number): number {
  let depth = 0;
  for (let at = from; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code === quote) at = endOfString(text, at) - 1;
    else if (code === openBracket || code === openBrace) depth++;
    else if ((code === closeBracket || code === closeBrace) && depth-- === 0) return at + 1;
  }
  return text.length;
}

/** State of the search for a part. */
type PartSearch = {
  readonly at: number;
  readonly lastComma: number;
  readonly commas: number;
  readonly values: number;
};

/** If the last member is long, the part ends before it. */
function toPart({ at, lastComma, commas, values }: PartSearch, closes: boolean): Part {
  if (lastComma > 0 && at - lastComma > smallChars) {
    return { to: lastComma, closes: false, count: commas, values: commas };
  }
  return { to: at, closes, count: commas + 1, values };
}

/** Nothing is cut where a member is missing, so that JSON.parse reports it with the right position. */
function isMember(text: string, from: number): boolean {
  const code = text.charCodeAt(skipBlanks(text, from));
  return code !== comma && code !== closeBracket && code !== closeBrace;
}

/** A long array or object that is a member. `name`: its name in an object; null in an array. */
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
  // `parseJson` reports an issue of the name when it parses the whole part.
  return parsed.ok && parsed.issues.length === 0 && typeof parsed.value === 'string'
    ? { open, name: parsed.value }
    : null;
}

function isOpening(code: number): boolean {
  return code === openBracket || code === openBrace;
}

/** Returns the index of the first character that is not blank, or the length of the text. */
export function skipBlanks(text: string, from: number): number {
  let at = from;
  for (; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code !== space && code !== lineFeed && code !== carriageReturn && code !== tab) break;
  }
  return at;
}
