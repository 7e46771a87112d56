import { endOfString } from './json-scan.js';

/** A text that holds some neighbours of a list as the whole holds all: `[1,2,3]` is cut into `[1,2]` and `[3]`. */
export type Cut = {
  readonly text: string;
  /** Characters that a place in this text is before the same place in the whole. */
  readonly shift: number;
};

/** Where an element is missing, nothing is cut: JSON.parse is to say so, and where. */
const noElement = /\s*[,\]}]/y;
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
  if (before === undefined || !isElement(text, before.length)) {
    yield { text, shift: 0 };
    return;
  }
  const closing = before.includes('{') ? ']}' : ']';
  let start = before.length;
  for (;;) {
    const at = findCut(text, start, chars);
    const shift = start - before.length;
    if (at === -1) {
      yield { text: before + text.slice(start), shift };
      return;
    }
    yield { text: before + text.slice(start, at) + closing, shift };
    start = at + 1;
  }
}

/** Index of the first comma between two elements, `chars` or more after `from`; -1 where none is left. */
function findCut(text: string, from: number, chars: number): number {
  let depth = 0;
  for (let at = from; at < text.length && depth >= 0; at++) {
    const code = text.charCodeAt(at);
    // Quotes, commas and brackets by their codes: this runs for every character.
    if (code === 34) at = endOfString(text, at) - 1;
    else if (code === 44) {
      if (depth === 0 && at - from >= chars && isElement(text, at + 1)) return at;
    } else if (code === 91 || code === 123) depth++;
    else if (code === 93 || code === 125) depth--;
  }
  return -1;
}

function isElement(text: string, at: number): boolean {
  noElement.lastIndex = at;
  return !noElement.test(text);
}
