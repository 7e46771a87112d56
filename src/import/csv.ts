import { ImportError } from './import-error.js';
import type { Line } from './lines.js';
import { checkEncoding, decodeLine } from './row.js';
import type { Framer, Row } from './row.js';

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
