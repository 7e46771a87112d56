import { promisify } from 'node:util';
import { brotliDecompress, gunzip, inflate, inflateRaw } from 'node:zlib';
import { toHeaderText, type Headers } from './rate-headers.js';

/** A response's body; `isWhole` is false where it is longer than the bound, or cannot be decoded. */
export type ResponseBody = { readonly bodyText: string; readonly isWhole: boolean };

const damaged: ResponseBody = { bodyText: '', isWhole: false };

/**
 * Reads a response's body, at most `maxBytes` of it before and after decompression. Proxies compress what
 * nobody wants compressed (RFC 9110, 12.5.3), so its codings are undone. Stops at the bound, and with that
 * ends the connection. Rejects where the connection breaks.
 */
export async function readBody(
  body: AsyncIterable<Buffer>,
  headers: Headers,
  maxBytes: number,
): Promise<ResponseBody> {
  const { bytes, isWhole } = await readBytes(body, maxBytes);
  const decoders = toDecoders(toHeaderText(headers['content-encoding']));
  // An empty body is one in any coding: proxies keep the header when there is nothing to compress.
  if (decoders?.length === 0 || (bytes.length === 0 && isWhole)) {
    return { bodyText: bytes.toString(), isWhole };
  }
  if (decoders === null || !isWhole) return damaged;
  try {
    let decoded = bytes;
    for (const decode of decoders) decoded = await decode(decoded, { maxOutputLength: maxBytes });
    return { bodyText: decoded.toString(), isWhole };
  } catch {
    return damaged;
  }
}

async function readBytes(
  body: AsyncIterable<Buffer>,
  maxBytes: number,
): Promise<{ readonly bytes: Buffer; readonly isWhole: boolean }> {
  const parts: Buffer[] = [];
  let room = maxBytes;
  for await (const part of body) {
    parts.push(part.subarray(0, room));
    room -= part.length;
    if (room < 0) break;
  }
  return { bytes: Buffer.concat(parts), isWhole: room >= 0 };
}

/** Off the main thread; rejects what is damaged, cut off or longer than the bound. */
type Decode = (bytes: Buffer, options: { readonly maxOutputLength: number }) => Promise<Buffer>;

const inflateZlib: Decode = promisify(inflate);
const inflateBare: Decode = promisify(inflateRaw);
const decodeGzip: Decode = promisify(gunzip);

/** Names are those of the IANA registry, in lower case. zstd is in no Node 20. */
const decoders: ReadonlyMap<string, Decode> = new Map([
  ['gzip', decodeGzip],
  ['x-gzip', decodeGzip],
  // Some servers mean a zlib stream by it, as they should, and some a bare one.
  ['deflate', (bytes, options) => (isZlib(bytes) ? inflateZlib : inflateBare)(bytes, options)],
  ['br', promisify(brotliDecompress)],
]);
/** Nobody needs more; each costs a pass. */
const maxCodings = 4;

/** What undoes the codings of a response, in order; null where one is unknown, or there are too many. */
function toDecoders(contentEncoding: string | undefined): readonly Decode[] | null {
  const codings = (contentEncoding ?? '')
    .split(',')
    .map((coding) => coding.trim().toLowerCase())
    .filter((coding) => coding !== '' && coding !== 'identity');
  const found = codings.map((coding) => decoders.get(coding)).filter((each) => each !== undefined);
  if (found.length < codings.length || found.length > maxCodings) return null;
  return found.reverse();
}

/** RFC 1950, 2.2: compression method 8, and a header that is a multiple of 31. */
function isZlib(bytes: Buffer): boolean {
  if (bytes.length < 2) return false;
  return ((bytes[0] ?? 0) & 0x0f) === 8 && bytes.readUInt16BE(0) % 31 === 0;
}
