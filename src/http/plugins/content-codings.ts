import {
  constants,
  createBrotliDecompress,
  createGunzip,
  createInflate,
  createInflateRaw,
} from 'node:zlib';
import { ProblemError } from './problems.js';

/**
 * Content codings (RFC 9110, 8.4): parses the Content-Encoding header, and decodes bodies.
 */

export type Coding = 'gzip' | 'deflate' | 'br';

const codings = new Map<string, Coding | null>([
  ['', null],
  ['identity', null],
  ['gzip', 'gzip'],
  ['x-gzip', 'gzip'],
  ['deflate', 'deflate'],
  ['br', 'br'],
]);

/** Each coding costs a pass over the body. Two are allowed, because a proxy may compress a compressed body again. */
const maxCodings = 2;

/** Returns the codings of a Content-Encoding header in the order of decoding. Throws a 415 for an unknown coding. */
export function parseContentCodings(header = ''): readonly Coding[] {
  const inDecodingOrder: Coding[] = [];
  for (const name of header.split(',')) {
    const coding = codings.get(name.trim().toLowerCase());
    if (coding === undefined)
      throw toUnsupportedCoding('encode with gzip, deflate, br or identity');
    if (coding !== null) inDecodingOrder.unshift(coding);
  }
  if (inDecodingOrder.length > maxCodings) {
    throw toUnsupportedCoding(
      `a body may have ${maxCodings} content codings, not ${inDecodingOrder.length}`,
    );
  }
  return inDecodingOrder;
}

/** The Accept-Encoding header of a 415 shows that the coding is the reason, and lists the accepted ones (RFC 9110, 15.5.16). */
function toUnsupportedCoding(detail: string): ProblemError {
  const headers = { 'accept-encoding': 'gzip, deflate, br, identity' };
  return new ProblemError('unsupported-media-type', detail, { headers });
}

/** A decoded body. `part`: only its start was decoded, for the reason in `failure`. */
export type Decoded =
  | { readonly kind: 'whole'; readonly bytes: Buffer }
  | { readonly kind: 'part'; readonly bytes: Buffer; readonly failure: DecodeFailure };

type DecodeFailure = 'too-large' | 'corrupt' | 'trailing';

type DecodeRules = {
  readonly limitBytes: number;
  /** True: the body is the start of a longer one, and its compressed stream may be incomplete. */
  readonly isStart?: boolean;
};

/**
 * Decodes a body. The output of each coding is bounded by `limitBytes`, so that a small body cannot expand
 * without limit. zlib works in its own threads. After a failure, the part that was decoded is returned.
 */
export async function decodeBody(
  body: Buffer,
  inOrder: readonly Coding[],
  rules: DecodeRules,
): Promise<Decoded> {
  let bytes = body;
  let failure: DecodeFailure | null = null;
  for (const coding of inOrder) {
    const decoded = await decodeOne(bytes, coding, rules);
    bytes = decoded.bytes;
    if (decoded.kind === 'part') failure ??= decoded.failure;
  }
  return failure === null ? { kind: 'whole', bytes } : { kind: 'part', bytes, failure };
}

function createDecoder(body: Buffer, coding: Coding, isStart: boolean) {
  // The default of 16 KiB takes four times as many iterations of the event loop.
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
      // "deflate" means the zlib format (RFC 9110, 8.4.1.2), but some senders omit its header. The low bits of
      // a zlib header are 8, the compression method.
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
    const end = (failure: DecodeFailure | null): void => {
      decoder.destroy();
      const bytes = Buffer.concat(chunks, Math.min(length, limitBytes));
      resolve(failure === null ? { kind: 'whole', bytes } : { kind: 'part', bytes, failure });
    };
    decoder.on('data', (chunk: Buffer) => {
      chunks.push(chunk);
      length += chunk.length;
      if (length > limitBytes) end('too-large');
    });
    decoder.once('error', () => end('corrupt'));
    decoder.once('end', () => {
      // Concatenated members of gzip are one body (RFC 1952, 2.2), and the decoder reads all of them.
      // Other bytes after the end of the stream are not read.
      const rest = body.subarray(decoder.bytesWritten);
      end(rest.length === 0 || (coding === 'gzip' && isZeros(rest)) ? null : 'trailing');
    });
    decoder.end(body);
  });
}

/** Returns true for zero padding after a gzip stream, which gzip(1) ignores, too. */
function isZeros(bytes: Buffer): boolean {
  return bytes.equals(Buffer.alloc(bytes.length));
}
