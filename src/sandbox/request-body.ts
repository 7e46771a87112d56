/**
 * Reads a request body: size limit (Klaviyo's documented 5 MB), media type, compression, JSON and
 * the outer frame of the JSON:API document.
 */

import { isUtf8 } from 'node:buffer';
import type { IncomingMessage } from 'node:http';
import { promisify } from 'node:util';
import { brotliDecompress, gunzip, inflate } from 'node:zlib';
import type { z } from 'zod';
import { isJsonObject } from '../json/json.js';
import { toJsonPointer } from './issues.js';
import { getOwnMember, readString } from './json.js';
import {
  createErrorResponse,
  createInvalidError,
  createMalformedResponse,
  createTooLargeResponse,
} from './response.js';
import type { ApiResponse, ApiError } from './response.js';

/** Klaviyo's limit after decompression. MB is read as 1,000,000 bytes, which is stricter. */
export const maxBodyBytes = 5_000_000;

/** Above this size the connection is closed instead of read to its end. */
const maxDrainBytes = 20 * maxBodyBytes;

const decoders = {
  gzip: promisify(gunzip),
  deflate: promisify(inflate),
  br: promisify(brotliDecompress),
} as const;

/** `bytes`: size after decompression. */
export type RequestBody =
  | { readonly kind: 'json'; readonly json: unknown; readonly bytes: number }
  | { readonly kind: 'invalid'; readonly response: ApiResponse; readonly bytes: number };

/**
 * Reads the whole request even if it is too large: a response during the upload often reaches the
 * client as a connection reset. Rejects if the client disconnects.
 */
export async function readRequestBody(request: IncomingMessage): Promise<RequestBody> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request) {
    if (!Buffer.isBuffer(chunk)) continue;
    bytes += chunk.length;
    if (bytes > maxDrainBytes) request.destroy();
    if (bytes <= maxBodyBytes) chunks.push(chunk);
  }
  if (bytes > maxBodyBytes) return createInvalidBody(createTooLargeResponse(maxBodyBytes), bytes);
  const media = request.headers['content-type']?.split(';')[0]?.trim().toLowerCase() ?? '';
  if (media !== 'application/vnd.api+json' && media !== 'application/json') {
    return createInvalidBody(
      createUnsupportedMediaResponse(`Unsupported media type "${media}" in request.`),
      bytes,
    );
  }
  return parseJsonBody(Buffer.concat(chunks, bytes), request.headers['content-encoding']);
}

/** Checks UTF-8 first, because Node silently replaces invalid bytes and Klaviyo rejects them. */
async function parseJsonBody(sent: Buffer, encoding: string | undefined): Promise<RequestBody> {
  const plain = await decompress(sent, encoding?.toLowerCase());
  if (!Buffer.isBuffer(plain)) return createInvalidBody(plain, sent.length);
  if (!isUtf8(plain)) return createInvalidBody(createMalformedResponse(), plain.length);
  try {
    const json: unknown = JSON.parse(plain.toString('utf8'));
    return { kind: 'json', json, bytes: plain.length };
  } catch {
    return createInvalidBody(createMalformedResponse(), plain.length);
  }
}

/**
 * Klaviyo documents no support for compressed bodies. The sandbox accepts them, and a fault rule
 * can reject them with 415.
 */
async function decompress(
  sent: Buffer,
  encoding: string | undefined,
): Promise<Buffer | ApiResponse> {
  if (encoding === undefined || encoding === 'identity') return sent;
  if (encoding !== 'gzip' && encoding !== 'deflate' && encoding !== 'br') {
    return createUnsupportedMediaResponse(`Unsupported content encoding "${encoding}" in request.`);
  }
  try {
    return await decoders[encoding](sent, { maxOutputLength: maxBodyBytes });
  } catch (error) {
    const tooLarge =
      error instanceof Error && 'code' in error && error.code === 'ERR_BUFFER_TOO_LARGE';
    return tooLarge ? createTooLargeResponse(maxBodyBytes) : createMalformedResponse();
  }
}

function createUnsupportedMediaResponse(detail: string): ApiResponse {
  return createErrorResponse(415, [
    {
      code: 'unsupported_media_type',
      title: 'Unsupported media type.',
      detail,
      source: { pointer: '/data/' },
    },
  ]);
}

function createInvalidBody(response: ApiResponse, bytes: number): RequestBody {
  return { kind: 'invalid', response, bytes };
}

/**
 * Parses a body or its outer frame, or returns the 400 for it. `resource` is the type of the body's
 * own resource, for Klaviyo's error texts.
 */
export function parseFrame<T>(
  json: unknown,
  schema: z.ZodType<T>,
  resource: string,
): { readonly frame: T } | { readonly invalid: ApiResponse } {
  if (!isJsonObject(json) || !(isJsonObject(json.data) || Array.isArray(json.data)))
    return { invalid: createMalformedResponse() };
  const parsed = schema.safeParse(json);
  if (parsed.success) return { frame: parsed.data };
  const errors = parsed.error.issues.flatMap((issue): ApiError[] => {
    const path = issue.path.map((part) => (typeof part === 'symbol' ? String(part) : part));
    const owner = findResourceType(json, path) ?? resource;
    if (issue.code === 'unrecognized_keys') {
      return issue.keys.map((key) =>
        createInvalidError(`'${key}' is not a valid field for the resource '${owner}'.`, {
          pointer: toJsonPointer([...path, key]),
        }),
      );
    }
    const isMissing = issue.code === 'invalid_type' && path.reduce(getAt, json) === undefined;
    const detail = isMissing
      ? `'${path.at(-1)}' is a required field for the resource '${owner}'.`
      : issue.message;
    return [createInvalidError(detail, { pointer: toJsonPointer(path) })];
  });
  return { invalid: createErrorResponse(400, errors) };
}

/** Returns the type of the innermost resource within the body's own that contains the path. */
function findResourceType(json: unknown, path: readonly (string | number)[]): string | undefined {
  let type: string | undefined;
  let value = json;
  for (const [depth, segment] of path.entries()) {
    value = getAt(value, segment);
    if (depth > 0) type = readString(getOwnMember(value, 'type')) ?? type;
  }
  return type;
}

function getAt(value: unknown, segment: string | number): unknown {
  if (typeof segment !== 'number' || !Array.isArray(value))
    return getOwnMember(value, String(segment));
  const list: readonly unknown[] = value;
  return list[segment];
}
