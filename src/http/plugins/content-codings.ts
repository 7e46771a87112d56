import {
  constants,
  createBrotliDecompress,
  createGunzip,
  createInflate,
  createInflateRaw,
} from 'node:zlib';
import { ProblemError } from './problems.js';

/** Content codings (RFC 9110, 8.4): which ones a request names, and how a body is decoded. */
export type Coding = 'gzip' | 'deflate' | 'br';

const codings = new Map<string, Coding | null>([
  ['', null],
  ['identity', null],
  ['gzip', 'gzip'],
  ['x-gzip', 'gzip'],
  ['deflate', 'deflate'],
  ['br', 'br'],
]);

/** Each coding of a body is a pass over it: two let a proxy compress what was compressed before. */
const maxCodings = 2;

/** The codings of a Content-Encoding, in the order in which they are undone. Throws for others: 415. */
export function parseContentCodings(header = ''): readonly Coding[] {
  const found: Coding[] = [];
  for (const name of header.split(',')) {
    const coding = codings.get(name.trim().toLowerCase());
    if (coding === undefined) throw toUnsupported('encode with gzip, deflate, br or identity');
    if (coding !== null) found.unshift(coding);
  }
  if (found.length > maxCodings) {
    throw toUnsupported(`a body may have ${maxCodings} content codings, not ${found.length}`);
  }
  return found;
}

/** RFC 9110 (15.5.16): Accept-Encoding says that the coding is at fault, and which ones are not. */
function toUnsupported(detail: string): ProblemError {
  const headers = { 'accept-encoding': 'gzip, deflate, br, identity' };
  return new ProblemError('unsupported-media-type', detail, { headers });
}

/** What became of a body: `fault` says why it is not decoded in full. */
export type Decoded =
  | { readonly kind: 'whole'; readonly bytes: Buffer }
  | { readonly kind: 'part'; readonly bytes: Buffer; readonly fault: Fault };

type Fault = 'too-large' | 'corrupt' | 'trailing';

type DecodeRules = {
  readonly limitBytes: number;
  /** The body is the start of a longer one: what it decodes to is wanted, and its end is none. */
  readonly isStart?: boolean;
};

/**
 * Decodes at most `limitBytes` of each coding, in threads of their own and without keeping more than
 * that: a small bomb does not get to grow. A part that was decoded before a fault is handed back.
 */
export async function decodeBody(
  body: Buffer,
  sent: readonly Coding[],
  rules: DecodeRules,
): Promise<Decoded> {
  let bytes = body;
  let fault: Fault | null = null;
  for (const coding of sent) {
    const decoded = await decodeOne(bytes, coding, rules);
    bytes = decoded.bytes;
    if (decoded.kind === 'part') fault ??= decoded.fault;
  }
  return fault === null ? { kind: 'whole', bytes } : { kind: 'part', bytes, fault };
}

function createDecoder(body: Buffer, coding: Coding, isStart: boolean) {
  // The default of 16 KiB makes four times as many turns of the event loop.
  const chunkSize = 65_536;
  if (coding === 'br') {
    const finishFlush = isStart
      ? constants.BROTLI_OPERATION_FLUSH
      : constants.BROTLI_OPERATION_FINISH;
    return createBrotliDecompress({ chunkSize, finishFlush });
  }
  const finishFlush = isStart ? constants.Z_SYNC_FLUSH : constants.Z_FINISH;
  const options = { chunkSize, finishFlush };
  switch (coding) {
    case 'gzip':
      return createGunzip(options);
    case 'deflate':
      // "deflate" means zlib's format (RFC 9110, 8.4.1.2), yet some senders leave its header out; 8 is its method.
      return ((body[0] ?? 8) & 0x0f) === 8 ? createInflate(options) : createInflateRaw(options);
  }
}

function decodeOne(
  body: Buffer,
  coding: Coding,
  { limitBytes, isStart = false }: DecodeRules,
): Promise<Decoded> {
  return new Promise((resolve) => {
    const decoder = createDecoder(body, coding, isStart);
    const chunks: Buffer[] = [];
    let length = 0;
    const end = (fault: Fault | null): void => {
      decoder.destroy();
      const bytes = Buffer.concat(chunks, Math.min(length, limitBytes));
      resolve(fault === null ? { kind: 'whole', bytes } : { kind: 'part', bytes, fault });
    };
    decoder.on('data', (chunk: Buffer) => {
      chunks.push(chunk);
      length += chunk.length;
      if (length > limitBytes) end('too-large');
    });
    decoder.once('error', () => end('corrupt'));
    decoder.once('end', () => {
      // Concatenated members of gzip are one body (RFC 1952, 2.2), and the decoder reads all of them.
      // Whatever else stands behind the end of the stream was not read.
      const rest = body.subarray(decoder.bytesWritten);
      end(rest.length === 0 || (coding === 'gzip' && isZeros(rest)) ? null : 'trailing');
    });
    decoder.end(body);
  });
}

/** Padding of blocks, which gzip(1) leaves out, too. */
function isZeros(bytes: Buffer): boolean {
  return bytes.equals(Buffer.alloc(bytes.length));
}
