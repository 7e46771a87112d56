import { isUtf8 } from 'node:buffer';
import type { Line } from './lines.js';

/** One entry of the input as it stands there. */
export type Row = {
  /** Where it starts, from 1. */
  readonly line: number;
  readonly lastLine: number;
  /** Offset of the byte after it. */
  readonly end: number;
  /** Without its line end. */
  readonly text: string;
  /** CSV alone. */
  readonly cells: readonly string[];
  /** Why it cannot even be read. */
  readonly fault: string | null;
};

/** From lines to rows; blank lines are none. */
export type Framer = {
  push(line: Line): readonly Row[];
  end(): readonly Row[];
};

const byteOrderMark = '\ufeff';

/** What is no UTF-8 shows as U+FFFD. */
export function toText({ bytes, number }: Line): string {
  const text = bytes.toString('utf8');
  return number === 1 && text.startsWith(byteOrderMark) ? text.slice(1) : text;
}

export function toFault({ bytes, isCut }: Line): string | null {
  return isCut || isUtf8(bytes)
    ? null
    : 'is not valid UTF-8: save the file as UTF-8, or name its --encoding';
}

/** One JSON text a line. Whether it is JSON the relay says. */
export function createNdjsonFramer(maxBytes: number): Framer {
  return {
    push(line) {
      const text = toText(line).trim();
      if (text === '') return [];
      const { number, end, isCut } = line;
      const fault = isCut ? `is longer than ${maxBytes} bytes` : toFault(line);
      return [{ line: number, lastLine: number, end, text, cells: [], fault }];
    },
    end: () => [],
  };
}
