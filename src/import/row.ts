import { isUtf8 } from 'node:buffer';
import type { Line } from './lines.js';

/** One entry of the input, as read. */
export type Row = {
  /** The first line, from 1. */
  readonly line: number;
  readonly lastLine: number;
  /** Offset of the byte after the row. */
  readonly end: number;
  /** The text without its line end. */
  readonly text: string;
  /** Empty unless the input is CSV. */
  readonly cells: readonly string[];
  /** Why the row cannot be read at all; null if it can. */
  readonly fault: string | null;
};

/** Assembles rows from lines. Blank lines are skipped. */
export type Framer = {
  push(line: Line): readonly Row[];
  end(): readonly Row[];
};

const byteOrderMark = '\ufeff';

/** Bytes that are not UTF-8 become U+FFFD. */
export function decodeLine({ bytes, number }: Line): string {
  const text = bytes.toString('utf8');
  return number === 1 && text.startsWith(byteOrderMark) ? text.slice(1) : text;
}

export function checkEncoding({ bytes, isCut }: Line): string | null {
  return isCut || isUtf8(bytes)
    ? null
    : 'is not valid UTF-8: save the file as UTF-8, or specify its encoding with --encoding';
}

/** One JSON text a line. The relay checks whether it is JSON. */
export function createNdjsonFramer(maxBytes: number): Framer {
  return {
    push(line) {
      const text = decodeLine(line).trim();
      if (text === '') return [];
      const { number, end, isCut } = line;
      const fault = isCut ? `is longer than ${maxBytes} bytes` : checkEncoding(line);
      return [{ line: number, lastLine: number, end, text, cells: [], fault }];
    },
    end: () => [],
  };
}
