import { decodeUtf8 } from './json.js';

/** A part of a list as a JSON text of its own: `[1,2,3]` is cut into `[1,2]` and `[3]`. */
export type Cut = {
  readonly text: string;
  /** Add this number to a position in this text to get the position in the whole list. */
  readonly shift: number;
};

/** Bound of the blanks before a list, because they are repeated in each part. */
const maxBlanks = 20;
const blank = `[ \\t\\n\\r]{0,${maxBlanks}}`;

/** Matches the text before the first element of a list, which is `[…]` or `{"name":[…]}`. */
export type ListOpening = { readonly pattern: RegExp; readonly maxBytes: number };

export function toListOpening(name: string): ListOpening {
  return {
    pattern: new RegExp(`^${blank}(?:\\{${blank}"${name}"${blank}:${blank})?\\[`),
    maxBytes: 4 * maxBlanks + `{"${name}":[`.length,
  };
}

/**
 * Cuts the JSON text of a list after every `minBytes` bytes. A longer element has a part of its own. The
 * text after the list belongs to the last part. A text that does not start with `opening` is not cut.
 * Nothing is validated here and no issue is hidden: the text is JSON if and only if all parts are.
 *
 * `bytes` are UTF-8. Cutting works on bytes, because one string of the whole would need much new memory.
 * It is safe, because the characters at a cut are ASCII, whose bytes appear in no other character.
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

// Codes of characters. The loops below run for every byte.
const [tab, lineFeed, carriageReturn, space] = [0x09, 0x0a, 0x0d, 0x20];
const [quote, comma, backslash] = [0x22, 0x2c, 0x5c];
const [openBracket, closeBracket, openBrace, closeBrace] = [0x5b, 0x5d, 0x7b, 0x7d];

/**
 * Returns the index of the first comma between two elements that is at least `minBytes` after `from`. If
 * the element before that comma is longer than `minBytes`, returns the comma before the element, so that
 * the element is alone in its part. Returns -1 if no comma is left.
 */
function findCut(bytes: Buffer, from: number, minBytes: number): number {
  let depth = 0;
  let before = -1;
  for (let at = from; at < bytes.length && depth >= 0; at++) {
    const code = bytes[at];
    if (code === quote) at = findClosingQuote(bytes, at);
    else if (code === comma && depth === 0 && isElement(bytes, at + 1)) {
      if (at - from >= minBytes) return chooseCut(before, at, minBytes);
      before = at;
    } else if (code === openBracket || code === openBrace) depth++;
    else if (code === closeBracket || code === closeBrace) depth--;
  }
  return chooseCut(before, bytes.length, minBytes) === before ? before : -1;
}

function chooseCut(before: number, at: number, minBytes: number): number {
  return before >= 0 && at - before - 1 > minBytes ? before : at;
}

/** Returns the index of the closing quote of the string that starts at `start`, or the length if there is none. */
function findClosingQuote(bytes: Buffer, start: number): number {
  let at = start + 1;
  while (at < bytes.length && bytes[at] !== quote) at += bytes[at] === backslash ? 2 : 1;
  return at;
}

/** Nothing is cut where an element is missing, so that JSON.parse reports it with the right position. */
function isElement(bytes: Buffer, from: number): boolean {
  let at = from;
  while (isBlank(bytes[at])) at++;
  return bytes[at] !== comma && bytes[at] !== closeBracket && bytes[at] !== closeBrace;
}

function isBlank(code: number | undefined): boolean {
  return code === space || code === lineFeed || code === carriageReturn || code === tab;
}
