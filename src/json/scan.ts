/** What a JSON Pointer is made of. */
export type PathSegment = string | number;

/** One thing wrong with a JSON text, and where: the way from the root of the text. */
export type JsonIssue = { readonly path: readonly PathSegment[]; readonly detail: string };

/** Containers inside containers, at most; anything deeper is a fault of the text. */
export const maxDepth = 64;

/** How often `JSON.stringify` met one, so that `stringifyJson` knows when its text is not exact. */
let serialisedCount = 0;
export const exactIntegersSerialised = (): number => serialisedCount;

/** An integer beyond ±(2^53 - 1), kept as its digits: a JavaScript number would change it. */
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
  /** The names met so far; null for an array. */
  readonly names: Set<string> | null;
  /** Name or index of the member the scan is in. */
  segment: PathSegment;
};

/**
 * Walks a text that JSON.parse took, in step with the value it made, for the two things JSON.parse
 * hides: names given twice, and integers it rounded. The latter are put right in the value.
 * Iterative, and blind below `maxDepth`, so that no text can exhaust a stack.
 */
class Scan {
  readonly #text: string;
  readonly #report: (fault: JsonIssue) => void;
  readonly #frames: Frame[];
  #at = 0;
  /** Open containers below `maxDepth`. */
  #hidden = 0;
  #expectsName = false;

  constructor(text: string, holder: object, report: (fault: JsonIssue) => void) {
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
    // Under a name given twice the value holds the last one alone, so this may not be there: {} stands in.
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

  /** The value JSON.parse made at this place. */
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

/** True for a finite number that may stand for another integer than the one written. */
export function isRounded(value: number): boolean {
  return Math.abs(value) > Number.MAX_SAFE_INTEGER && Number.isFinite(value);
}

/** Reports repeated names and restores rounded integers in place; answers the (same) value. */
export function scanExactly(
  text: string,
  root: unknown,
  report: (fault: JsonIssue) => void,
): unknown {
  const holder = { root };
  new Scan(text, holder, report).run();
  return holder.root;
}

/**
 * Index just after the string that starts at `start`, or the end of the text where it is not closed. A
 * loop over characters: `indexOf` of each quote takes ten times as long where the text is full of `\\"`.
 */
export function endOfString(text: string, start: number): number {
  for (let at = start + 1; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code === 34) return at + 1;
    if (code === 92) at++;
  }
  return text.length;
}
