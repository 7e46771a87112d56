/**
 * Reads an input as rows of NDJSON or CSV, with the position of each row, so that an import can
 * resume after it.
 */

import { createCsvFramer, isSeparatorLine } from './csv.js';
import { ImportError } from './import-error.js';
import { createLineReader, type Line, type Place } from './lines.js';
import { createNdjsonFramer, decodeLine, type Row } from './row.js';

export const formats = ['ndjson', 'csv'] as const;
export type Format = (typeof formats)[number];

export type Layout = {
  readonly format: Format;
  /** One character; for CSV. */
  readonly delimiter: string;
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
