import { endOfString } from './json-scan.js';

/** A text that holds some neighbours of a list as the whole holds all: `[1,2,3]` is cut into `[1,2]` and `[3]`. */
export type Cut = {
  readonly text: string;
  /** Characters that a place in this text is before the same place in the whole. */
  readonly shift: number;
};

const quote = 34;
const comma = 44;
const openings = new Set([91, 123]);
const closings = new Set([93, 125]);
/** A comma before it is one too many: it is left in, for JSON.parse to say where. */
const end = /\s*[\]}]/y;
/** More is unheard of, and is repeated in each cut. */
const blank = '\\s{0,20}';

/** What stands before the first element of a list: of `[…]` and of `{"name":[…]}`. */
export function toListOpening(name: string): RegExp {
  return new RegExp(`^${blank}(?:\\{${blank}"${name}"${blank}:${blank})?\\[`);
}

/**
 * Cuts the JSON text of a list after each `chars` characters, or later where an element is longer.
 * What comes after the list stays with the last cut; a text that does not start with `opening`
 * (toListOpening) stays whole. Finds no faults, and hides none: the text is JSON where all that it
 * is cut into is.
 */
export function* cutList(text: string, opening: RegExp, chars: number): Generator<Cut> {
  const [before] = opening.exec(text) ?? [];
  if (before === undefined) {
    yield { text, shift: 0 };
    return;
  }
  const closing = before.includes('{') ? ']}' : ']';
  let start = before.length;
  const toCut = (to: number, after: string): Cut => ({
    text: before + text.slice(start, to) + after,
    shift: start - before.length,
  });
  let depth = 0;
  for (let at = start; at < text.length && depth >= 0; at++) {
    const code = text.charCodeAt(at);
    if (code === quote) at = endOfString(text, at) - 1;
    else if (openings.has(code)) depth++;
    else if (closings.has(code)) depth--;
    else if (code === comma && depth === 0 && at - start >= chars && !isEnd(text, at + 1)) {
      yield toCut(at, closing);
      start = at + 1;
    }
  }
  yield toCut(text.length, '');
}

function isEnd(text: string, at: number): boolean {
  end.lastIndex = at;
  return end.test(text);
}
