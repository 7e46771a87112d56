import { isUtf8 } from 'node:buffer';
import { ImportError } from './import-error.js';

/**
 * Reads an input as rows of NDJSON or CSV, with the position of each row, so that an import can
 * resume after it. Chunks are split into lines, and a framer makes rows of lines: of each line one
 * (NDJSON), or one of several (CSV, whose quoted cells may contain line ends).
 */

export const formats = ['ndjson', 'csv'] as const;
export type Format = (typeof formats)[number];

export type Layout = {
  readonly format: Format;
  /** One character; for CSV. */
  readonly delimiter: string;
};

/** A position: after this many lines and bytes. */
export type Place = { readonly line: number; readonly offset: number };

export const start: Place = { line: 0, offset: 0 };

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

/** More than the relay accepts as one entry in any spelling. Also bounds the memory of one row. */
export const maxRowBytes = 5_000_000;

/** Chunks may end anywhere. Throws ImportError if the input is a different kind of file. */
export async function* readRows(
  chunks: AsyncIterable<Buffer>,
  { format, delimiter }: Layout,
  from: Place,
): AsyncGenerator<Row, void> {
  const reader = createLineReader(from, maxRowBytes);
  const framer =
    format === 'csv'
      ? createCsvFramer({ delimiter, maxBytes: maxRowBytes })
      : createNdjsonFramer(maxRowBytes);
  const frameLine = (line: Line): readonly Row[] => {
    if (line.number !== 1) return framer.push(line);
    rejectOtherKinds(line.bytes);
    return format === 'csv' && isSeparatorLine(decodeLine(line)) ? [] : framer.push(line);
  };
  for await (const chunk of chunks) {
    for (const line of reader.push(chunk)) yield* frameLine(line);
  }
  for (const line of reader.end()) yield* frameLine(line);
  yield* framer.end();
}

function rejectOtherKinds(bytes: Buffer): void {
  if (bytes.subarray(0, 4).equals(Buffer.from('PK\x03\x04'))) {
    throw new ImportError('the input is a ZIP archive or a workbook: save it as CSV');
  }
  if (bytes.includes(0)) {
    throw new ImportError(
      'the input is not UTF-8 text: if it is UTF-16 without a byte order mark, use --encoding utf-16le',
    );
  }
}

/** One line of a file, including its line end. */
export type Line = {
  /** From 1. */
  readonly number: number;
  /** Offset of the byte after the line. */
  readonly end: number;
  readonly bytes: Buffer;
  /** True if the line is longer than the bound. `bytes` holds its beginning. */
  readonly isCut: boolean;
};

export type LineReader = {
  /** Returns the lines that end within this chunk. */
  push(chunk: Buffer): readonly Line[];
  /** Returns the last line if it has no line end. */
  end(): readonly Line[];
};

const lineEnd = 10;

/**
 * Splits chunks, which may end anywhere, into lines. Holds at most one line and at most `maxBytes`
 * of it.
 */
export function createLineReader({ line, offset }: Place, maxBytes: number): LineReader {
  let number = line;
  let end = offset;
  let held: Buffer[] = [];
  let heldBytes = 0;
  let length = 0;

  const hold = (part: Buffer): void => {
    length += part.length;
    const kept = part.subarray(0, maxBytes - heldBytes);
    heldBytes += kept.length;
    if (kept.length > 0) held.push(kept);
  };

  const finish = (): Line => {
    const [only] = held;
    const bytes = held.length === 1 && only !== undefined ? only : Buffer.concat(held);
    number++;
    end += length;
    const finished = { number, end, bytes, isCut: length > heldBytes };
    held = [];
    heldBytes = 0;
    length = 0;
    return finished;
  };

  return {
    push(chunk) {
      const lines: Line[] = [];
      let from = 0;
      for (let at = chunk.indexOf(lineEnd); at !== -1; at = chunk.indexOf(lineEnd, from)) {
        hold(chunk.subarray(from, at + 1));
        lines.push(finish());
        from = at + 1;
      }
      hold(chunk.subarray(from));
      return lines;
    },
    end: () => (length === 0 ? [] : [finish()]),
  };
}

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

/** Spreadsheets write this line before the header. */
const separatorLine = /^"?sep=(.)"?\r?\n?$/i;

/** The line names the delimiter and is not a row. */
export function isSeparatorLine(line: string): boolean {
  return separatorLine.test(line);
}

const common = [',', ';', '\t'];

/** Detects the delimiter of CSV from the first line. Throws ImportError if it is ambiguous. */
export function detectDelimiter(line: string): string {
  const [, named] = separatorLine.exec(line) ?? [];
  if (named !== undefined) return named;
  const unquoted = line.replace(/"(?:[^"]|"")*"/g, '');
  const found = common.filter((delimiter) => unquoted.includes(delimiter));
  if (found.length > 1) {
    const names = found.map((delimiter) => JSON.stringify(delimiter)).join(' and ');
    throw new ImportError(`the header has ${names}: specify one of them with --delimiter`);
  }
  return found[0] ?? (unquoted.includes('|') ? '|' : ',');
}

/**
 * Reads CSV by RFC 4180. No library is used, because a resumed import needs the offset after each
 * record, and a broken record must not affect others: csv-parse counts a CRLF within quotes as two
 * lines, and after a stray quote it stops or reads on to the next quote. test/import/rows.test.ts
 * compares the two on well-formed files.
 * A record that is broken or whose quote is never closed consists of its first line alone; reading
 * resumes with the second line. A quote inside a cell that does not begin with one is an ordinary
 * character.
 */
export function createCsvFramer({ delimiter, maxBytes }: CsvRules): Framer {
  let lines: Line[] = [];
  let record = startRecord();
  let bytes = 0;

  const startAnew = (): void => {
    lines = [];
    record = startRecord();
    bytes = 0;
  };

  /**
   * Returns the first line as a broken row and reads the others again, as if nothing had preceded
   * them.
   */
  const stopReading = (detail: string): readonly Row[] => {
    const [first, ...others] = lines;
    startAnew();
    return first === undefined
      ? []
      : [toRow([first], { cells: [], fault: detail }), ...others.flatMap(push)];
  };

  const push = (line: Line): readonly Row[] => {
    const text = decodeLine(line);
    if (lines.length === 0 && text.trim() === '') return [];
    lines.push(line);
    bytes += line.bytes.length;
    if (line.isCut || bytes > maxBytes) return stopReading(`is longer than ${maxBytes} bytes`);
    if (lines.length > maxLines)
      return stopReading(`opens a quote that ${maxLines} lines do not close`);
    switch (readLine(record, text, delimiter)) {
      case 'open':
        return [];
      case 'broken':
        return stopReading(
          'has something after a closing quote that is neither a delimiter nor a line end',
        );
      case 'whole': {
        const row = toRow(lines, { cells: record.cells, fault: null });
        startAnew();
        return [row];
      }
    }
  };

  return {
    push,
    end() {
      const rows: Row[] = [];
      while (lines.length > 0) rows.push(...stopReading('opens a quote that is never closed'));
      return rows;
    },
  };
}

/** Bound for one record, because many short lines take more memory than their bytes. */
const maxLines = 10_000;

export type CsvRules = {
  /** One character. */
  readonly delimiter: string;
  /** Bound for one record. */
  readonly maxBytes: number;
};

function toRow(lines: readonly Line[], { cells, fault }: Pick<Row, 'cells' | 'fault'>): Row {
  const text = lines
    .map(decodeLine)
    .join('')
    .replace(/\r?\n$/, '');
  const last = lines.at(-1);
  return {
    line: lines[0]?.number ?? 0,
    lastLine: last?.number ?? 0,
    end: last?.end ?? 0,
    text,
    cells,
    fault: lines.map(checkEncoding).find((each) => each !== null) ?? fault,
  };
}

type OpenRecord = {
  readonly cells: string[];
  /** The content so far of an open quoted cell; null if no cell is open. */
  open: string | null;
};

const startRecord = (): OpenRecord => ({ cells: [], open: null });

/** Continues with one more line. `open`: the line ends within a quoted cell. */
function readLine(
  record: OpenRecord,
  text: string,
  delimiter: string,
): 'whole' | 'open' | 'broken' {
  const end = /\r?\n?$/.exec(text)?.index ?? text.length;
  for (let at = 0; ; at++) {
    if (record.open === null) {
      if (text[at] !== '"') {
        const next = text.indexOf(delimiter, at);
        record.cells.push(text.slice(at, next === -1 ? end : next));
        if (next === -1) return 'whole';
        at = next;
        continue;
      }
      record.open = '';
      at++;
    }
    const closing = readQuoted(record, text, at);
    if (closing === null) return 'open';
    at = closing + 1;
    if (at === end) return 'whole';
    if (text[at] !== delimiter) return 'broken';
  }
}

/**
 * Ends the open cell and returns the index of its closing quote, or null if the cell continues in
 * the next line.
 */
function readQuoted(record: OpenRecord, text: string, from: number): number | null {
  let cell = record.open ?? '';
  for (let at = from; ;) {
    const quote = text.indexOf('"', at);
    if (quote === -1) {
      record.open = cell + text.slice(at);
      return null;
    }
    cell += text.slice(at, quote);
    if (text[quote + 1] !== '"') {
      record.cells.push(cell);
      record.open = null;
      return quote;
    }
    cell += '"';
    at = quote + 2;
  }
}
