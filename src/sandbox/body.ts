import { isUtf8 } from 'node:buffer';
import type { IncomingMessage } from 'node:http';
import { promisify } from 'node:util';
import { brotliDecompress, gunzip, inflate } from 'node:zlib';
import { toErrors, toMalformed, toTooLarge } from './answer.js';
import type { Answer } from './answer.js';

/** Klaviyo's cap on a request body, after decompression; "5 MB" read the strict way. */
export const maxBodyBytes = 5_000_000;

/** Above this the sender is cut off instead of being listened to until it ends. */
const maxDrainBytes = 20 * maxBodyBytes;

const decoders = {
  gzip: promisify(gunzip),
  deflate: promisify(inflate),
  br: promisify(brotliDecompress),
} as const;

/** `bytes`: size after decompression. */
export type Body =
  | { readonly kind: 'json'; readonly json: unknown; readonly bytes: number }
  | { readonly kind: 'refused'; readonly answer: Answer; readonly bytes: number };

/**
 * Reads the whole request, even one that is too large: an answer that comes while the sender still
 * writes is often lost as a connection reset. Rejects when the sender goes away.
 */
export async function readBody(request: IncomingMessage): Promise<Body> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request) {
    if (!Buffer.isBuffer(chunk)) continue;
    bytes += chunk.length;
    if (bytes > maxDrainBytes) request.destroy();
    if (bytes <= maxBodyBytes) chunks.push(chunk);
  }
  if (bytes > maxBodyBytes) return refuse(toTooLarge(maxBodyBytes), bytes);
  const media = request.headers['content-type']?.split(';')[0]?.trim().toLowerCase() ?? '';
  if (media !== 'application/vnd.api+json' && media !== 'application/json') {
    return refuse(toUnsupported(`Unsupported media type "${media}" in request.`), bytes);
  }
  return toJson(Buffer.concat(chunks, bytes), request.headers['content-encoding']);
}

/** Node replaces bad UTF-8 silently, which would let a body pass that Klaviyo refuses. */
async function toJson(sent: Buffer, encoding: string | undefined): Promise<Body> {
  const plain = await toPlain(sent, encoding?.toLowerCase());
  if (!Buffer.isBuffer(plain)) return refuse(plain, sent.length);
  if (!isUtf8(plain)) return refuse(toMalformed(), plain.length);
  try {
    const json: unknown = JSON.parse(plain.toString('utf8'));
    return { kind: 'json', json, bytes: plain.length };
  } catch {
    return refuse(toMalformed(), plain.length);
  }
}

/** Klaviyo nowhere says that it takes compressed bodies; the sandbox does, so that a script can refuse them with 415. */
async function toPlain(sent: Buffer, encoding: string | undefined): Promise<Buffer | Answer> {
  if (encoding === undefined || encoding === 'identity') return sent;
  if (encoding !== 'gzip' && encoding !== 'deflate' && encoding !== 'br') {
    return toUnsupported(`Unsupported content encoding "${encoding}" in request.`);
  }
  try {
    return await decoders[encoding](sent, { maxOutputLength: maxBodyBytes });
  } catch (error) {
    const tooLarge =
      error instanceof Error && 'code' in error && error.code === 'ERR_BUFFER_TOO_LARGE';
    return tooLarge ? toTooLarge(maxBodyBytes) : toMalformed();
  }
}

function toUnsupported(detail: string): Answer {
  return toErrors(415, [
    {
      code: 'unsupported_media_type',
      title: 'Unsupported media type.',
      detail,
      source: { pointer: '/data/' },
    },
  ]);
}

function refuse(answer: Answer, bytes: number): Body {
  return { kind: 'refused', answer, bytes };
}
