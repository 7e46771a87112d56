import type { Line } from './lines.js';
import { toFault, toText, type Framer, type Row } from './row.js';

/**
 * RFC 4180 by hand: an import that goes on where it stopped needs the byte after each record, and one
 * broken record must not take others with it. csv-parse counts a CRLF within quotes as two lines, and
 * after a stray quote it either stops or reads on to the next quote. test/import/csv.test.ts compares
 * the two on files that are well formed.
 *
 * A record that is broken, or whose quote is never closed, is its first line alone; what follows is
 * read anew. A quote inside a cell that does not begin with one is a character like any other.
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

  /** Gives up the first line, and reads the others as if nothing had been before them. */
  const giveUp = (detail: string): readonly Row[] => {
    const [first, ...others] = lines;
    startAnew();
    return first === undefined
      ? []
      : [toRow([first], { cells: [], fault: detail }), ...others.flatMap(push)];
  };

  const push = (line: Line): readonly Row[] => {
    const text = toText(line);
    if (lines.length === 0 && text.trim() === '') return [];
    lines.push(line);
    bytes += line.bytes.length;
    if (line.isCut || bytes > maxBytes) return giveUp(`is longer than ${maxBytes} bytes`);
    if (lines.length > maxLines) return giveUp(`opens a quote that ${maxLines} lines do not close`);
    switch (readLine(record, text, delimiter)) {
      case 'open':
        return [];
      case 'broken':
        return giveUp(
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
      while (lines.length > 0) rows.push(...giveUp('opens a quote that is never closed'));
      return rows;
    },
  };
}

/** Of one record: short lines take more memory than their bytes. */
const maxLines = 10_000;

export type CsvRules = {
  /** One character. */
  readonly delimiter: string;
  /** Of one record. */
  readonly maxBytes: number;
};

function toRow(lines: readonly Line[], { cells, fault }: Pick<Row, 'cells' | 'fault'>): Row {
  const text = lines
    .map(toText)
    .join('')
    .replace(/\r?\n$/, '');
  const last = lines.at(-1);
  return {
    line: lines[0]?.number ?? 0,
    lastLine: last?.number ?? 0,
    end: last?.end ?? 0,
    text,
    cells,
    fault: lines.map(toFault).find((each) => each !== null) ?? fault,
  };
}

type OpenRecord = {
  readonly cells: string[];
  /** What the quoted cell that is open holds so far; null: none is. */
  open: string | null;
};

const startRecord = (): OpenRecord => ({ cells: [], open: null });

/** Reads on by one line. `open`: it ends within a quoted cell. */
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

/** Ends the open cell, and tells where its closing quote is; null where it goes on in the next line. */
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
