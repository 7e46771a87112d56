import { decodeUtf8 } from './utf8.js';

/** A text that holds some neighbours of a list as the whole holds all: `[1,2,3]` is cut into `[1,2]` and `[3]`. */
export type Cut = {
  readonly text: string;
  /** Characters that a place in this text is before the same place in the whole. */
  readonly shift: number;
};

/** More is unheard of, and is repeated in each cut. */
const maxBlanks = 20;
const blank = `[ \\t\\n\\r]{0,${maxBlanks}}`;

/** What stands before the first element of a list: of `[…]` and of `{"name":[…]}`. */
export type ListOpening = { readonly pattern: RegExp; readonly maxBytes: number };

export function toListOpening(name: string): ListOpening {
  return {
    pattern: new RegExp(`^${blank}(?:\\{${blank}"${name}"${blank}:${blank})?\\[`),
    maxBytes: 4 * maxBlanks + `{"${name}":[`.length,
  };
}

/**
 * Cuts the JSON text of a list after each `minBytes` bytes. An element that is longer is alone in its cut.
 * What comes after the list stays with the last cut; a text that does not start with `opening`
 * stays whole. Finds no faults, and hides none: the text is JSON where all that it is cut into is.
 *
 * `bytes` are UTF-8. The whole is never one string, since a long one is new memory each time, and what
 * is cut are ASCII characters, which are no part of any other.
 */
export function* cutList(bytes: Buffer, opening: ListOpening, minBytes: number): Generator<Cut> {
  const [before] = opening.pattern.exec(bytes.toString('latin1', 0, opening.maxBytes)) ?? [];
  if (before === undefined || !isElement(bytes, before.length)) {
    yield { text: decodeUtf8(bytes), shift: 0 };
    return;
  }
  const closing = before.includes('{') ? ']}' : ']';
  let start = before.length;
  let shift = 0;
  for (;;) {
    const at = findCut(bytes, start, minBytes);
    const isLast = at === -1;
    const inside = decodeUtf8(bytes.subarray(start, isLast ? bytes.length : at));
    yield { text: isLast ? before + inside : before + inside + closing, shift };
    if (isLast) return;
    start = at + 1;
    shift += inside.length + 1;
  }
}

// Characters by their codes: what follows runs for every byte.
const [tab, lineFeed, carriageReturn, space] = [0x09, 0x0a, 0x0d, 0x20];
const [quote, comma, backslash] = [0x22, 0x2c, 0x5c];
const [openBracket, closeBracket, openBrace, closeBrace] = [0x5b, 0x5d, 0x7b, 0x7d];

/**
 * Index of the first comma between two elements, `minBytes` or more after `from`; of the one before
 * where the element between them is as long by itself. -1 where none is left.
 */
function findCut(bytes: Buffer, from: number, minBytes: number): number {
  let depth = 0;
  let before = -1;
  for (let at = from; at < bytes.length && depth >= 0; at++) {
    const code = bytes[at];
    if (code === quote) at = toEndOfString(bytes, at);
    else if (code === comma && depth === 0 && isElement(bytes, at + 1)) {
      if (at - from >= minBytes) return toCut(before, at, minBytes);
      before = at;
    } else if (code === openBracket || code === openBrace) depth++;
    else if (code === closeBracket || code === closeBrace) depth--;
  }
  return toCut(before, bytes.length, minBytes) === before ? before : -1;
}

function toCut(before: number, at: number, minBytes: number): number {
  return before >= 0 && at - before - 1 > minBytes ? before : at;
}

/** Index of the quote that closes the string that starts at `start`; the end where none does. */
function toEndOfString(bytes: Buffer, start: number): number {
  let at = start + 1;
  while (at < bytes.length && bytes[at] !== quote) at += bytes[at] === backslash ? 2 : 1;
  return at;
}

/** Where an element is missing, nothing is cut: JSON.parse is to say so, and where. */
function isElement(bytes: Buffer, from: number): boolean {
  let at = from;
  while (isBlank(bytes[at])) at++;
  return bytes[at] !== comma && bytes[at] !== closeBracket && bytes[at] !== closeBrace;
}

function isBlank(code: number | undefined): boolean {
  return code === space || code === lineFeed || code === carriageReturn || code === tab;
}
