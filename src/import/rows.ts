import { createCsvFramer } from './csv.js';
import { ImportError } from './import-error.js';
import { createLineReader, type Place } from './lines.js';
import { createNdjsonFramer, type Row } from './row.js';

export const formats = ['ndjson', 'csv'] as const;
export type Format = (typeof formats)[number];

export type Layout = {
  readonly format: Format;
  /** Of CSV; one character. */
  readonly delimiter: string;
};

/** Above what the relay takes as one entry, in any spelling; also what is held of one in memory. */
export const maxRowBytes = 5_000_000;

/** Chunks may be cut anywhere. Throws ImportError where the input is of another kind altogether. */
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
  for await (const chunk of chunks) {
    for (const line of reader.push(chunk)) {
      if (line.number === 1) refuseOtherKinds(line.bytes);
      yield* framer.push(line);
    }
  }
  for (const line of reader.end()) {
    if (line.number === 1) refuseOtherKinds(line.bytes);
    yield* framer.push(line);
  }
  yield* framer.end();
}

const otherKinds = [
  { magic: [0xff, 0xfe], is: 'UTF-16: save it as UTF-8' },
  { magic: [0xfe, 0xff], is: 'UTF-16: save it as UTF-8' },
  {
    magic: [0x1f, 0x8b],
    is: 'compressed: pipe it in, as in `gzip -dc FILE | klaviyo-relay import -`',
  },
  { magic: [0x50, 0x4b, 0x03, 0x04], is: 'a ZIP archive or a workbook: save it as CSV' },
] as const;

function refuseOtherKinds(bytes: Buffer): void {
  const kind = otherKinds.find(({ magic }) => magic.every((byte, at) => bytes[at] === byte));
  if (kind !== undefined) throw new ImportError(`the input is ${kind.is}`);
}
