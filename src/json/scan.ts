/** A name or an index in a path. */
export type PathSegment = string | number;

/** One issue of a JSON text, and the path to it from the root. */
export type JsonIssue = { readonly path: readonly PathSegment[]; readonly detail: string };

/** Maximum number of nested containers. A deeper one is an issue. */
export const maxDepth = 64;

/** Counts the ExactIntegers that `JSON.stringify` wrote as strings, so that `stringifyJson` can detect them. */
let serialisedCount = 0;
export const exactIntegersSerialised = (): number => serialisedCount;

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
export function isRounded(value: number): boolean {
  return Math.abs(value) > Number.MAX_SAFE_INTEGER && Number.isFinite(value);
}

/** Reports repeated names and corrects rounded integers in place. Returns the value. */
export function scanExactly(
  text: string,
  root: unknown,
  report: (issue: JsonIssue) => void,
): unknown {
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
