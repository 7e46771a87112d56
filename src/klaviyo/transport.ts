import type { Readable } from 'node:stream';
import { promisify } from 'node:util';
import { brotliDecompress, gunzip, inflate, inflateRaw } from 'node:zlib';
import type { Clock } from '../clock.js';
import type { Connections } from './connections.js';
import { toHeaderText, type Headers } from './rate-headers.js';

/**
 * Makes one HTTP request to Klaviyo. The result is always a value: a response, or the reason why there
 * is none. One time limit covers the whole request, from connecting to the last byte of the response.
 * A request body can be cut off while it is being sent, and a response body is read up to a bound.
 */
export type Transport = (request: KlaviyoRequest) => Promise<TransportResponse>;

export type KlaviyoRequest = {
  readonly method: 'GET' | 'POST' | 'DELETE';
  /** Below the base URL, with the query. */
  readonly path: string;
  readonly body?: Buffer;
  /** Absent: the current revision. */
  readonly revision?: string | undefined;
  /** Called while the body is sent. If it returns false, the request is cut off before it is complete. */
  readonly stillOwned?: (() => boolean) | undefined;
};

export type TransportResponse =
  | {
      readonly ok: true;
      readonly status: number;
      readonly headers: Headers;
      /** Cut off at the bound. Empty if it cannot be decoded. */
      readonly bodyText: string;
      /** False in both of these cases. Such a response never counts as a success. */
      readonly isWhole: boolean;
      /** Klaviyo retired the revision of the request; later requests use this one. */
      readonly movedTo?: string;
    }
  | TransportFailure;

export type TransportFailure = {
  readonly ok: false;
  /** Stable and short: the label of a metric. */
  readonly code: FailureCode;
  readonly detail: string;
  /** The status of a response that broke off; null if no response began. */
  readonly status: number | null;
};

export type FailureCode =
  | 'timeout'
  | 'lease'
  | 'proxy_auth'
  | 'proxy'
  | 'dns'
  | 'connect'
  | 'tls'
  | 'reset'
  | 'protocol'
  | 'closed'
  | 'network';

export type TransportOptions = {
  readonly apiKey: () => string;
  readonly revision: {
    readonly current: string;
    /** Returns the revision to use from now on, if the response says that `used` was retired; otherwise null. */
    noteResponse(used: string, request: KlaviyoRequest, response: TransportResponse): string | null;
  };
  readonly timeoutMs: number;
  readonly clock: Clock;
  /** The relay's version, for the user agent. */
  readonly version: string;
};

/** The media type of Klaviyo's OpenAPI. */
const mediaType = 'application/vnd.api+json';
/**
 * Bytes of a response that are read. An error for each of 10,000 profiles fits, and so does a page of 100
 * import errors, each with its profile of 100 KB.
 */
const maxResponseBytes = { POST: 4_000_000, DELETE: 4_000_000, GET: 16_000_000 } as const;

export function createTransport(connections: Connections, options: TransportOptions): Transport {
  const { apiKey, revision: currentRevision, timeoutMs, clock, version } = options;
  const { pool, pathPrefix } = connections;
  const fixedHeaders = {
    ...connections.headers,
    // Klaviyo then responds with an error to a retired revision, instead of using another one silently.
    'x-klaviyo-revision-fall-forward-opt-out': '1',
    accept: mediaType,
    // Responses are small, and most are empty. Proxies have damaged compressed ones.
    'accept-encoding': 'identity',
    'user-agent': `klaviyo-relay/${version}`,
  };
  return async (request) => {
    const { method, path, body, stillOwned } = request;
    const revision = request.revision ?? currentRevision.current;
    const timeout = new AbortController();
    const timer = clock.setTimer(timeoutMs, () => timeout.abort());
    let status: number | null = null;
    try {
      const { statusCode, headers, ...received } = await pool.request({
        method,
        path: pathPrefix + path,
        headers: {
          ...fixedHeaders,
          revision,
          authorization: `Klaviyo-API-Key ${apiKey()}`,
          ...(body !== undefined && {
            'content-type': mediaType,
            'content-length': String(body.length),
          }),
        },
        body:
          body !== undefined && stillOwned !== undefined
            ? (toCancellableBody(body, stillOwned) as Generator<Buffer> & Readable)
            : (body ?? null),
        signal: timeout.signal,
      });
      status = statusCode;
      const content = await readBody(received.body, headers, maxResponseBytes[method]);
      const response = { ok: true, status, headers, ...content } as const;
      const movedTo = currentRevision.noteResponse(revision, request, response);
      return movedTo === null ? response : { ...response, movedTo };
    } catch (error) {
      return toTransportFailure(error, { isTimedOut: timeout.signal.aborted, status });
    } finally {
      timer.cancel();
    }
  };
}

/** The lease of a claimed envelope ended while the request was sent: another relay may send the envelope now. */
class LeaseOverError extends Error {
  readonly code = 'RELAY_LEASE_OVER';
}

/**
 * Each piece has at least half of this, which is more than a stream accepts without waiting. So the next
 * piece is only asked for when this one has been sent.
 */
const pieceBytes = 128 * 1024;
/** The last piece is so small that the kernel accepts all of it or nothing. */
const lastBytes = 512;

/**
 * A request body that is sent in pieces, as fast as the connection accepts them, and only while
 * `stillOwned` returns true. A process may be suspended in the middle of a request. When it continues,
 * the bytes that are left must not complete the request. Throws LeaseOverError.
 */
export function* toCancellableBody(body: Buffer, stillOwned: () => boolean): Generator<Buffer> {
  const lastAt = Math.max(0, body.length - lastBytes);
  const size = Math.ceil(lastAt / Math.max(1, Math.ceil(lastAt / pieceBytes)));
  for (let at = 0; at < body.length;) {
    if (!stillOwned()) throw new LeaseOverError('the lease was over before all was sent');
    const end = at < lastAt ? Math.min(lastAt, at + size) : body.length;
    yield body.subarray(at, end);
    at = end;
  }
}

/** `isWhole` is false if the body is longer than the bound or cannot be decoded. */
type ResponseBody = { readonly bodyText: string; readonly isWhole: boolean };

const undecodable: ResponseBody = { bodyText: '', isWhole: false };

/**
 * Reads a response body, at most `maxBytes` of it before and after decompression. The relay asks for no
 * compression, but proxies compress all the same (RFC 9110, 12.5.3). Reading stops at the bound, which
 * closes the connection. Rejects if the connection breaks.
 */
export async function readBody(
  body: AsyncIterable<Buffer>,
  headers: Headers,
  maxBytes: number,
): Promise<ResponseBody> {
  const parts: Buffer[] = [];
  let bytesLeft = maxBytes;
  for await (const part of body) {
    parts.push(part.subarray(0, bytesLeft));
    bytesLeft -= part.length;
    if (bytesLeft < 0) break;
  }
  const bytes = Buffer.concat(parts);
  const isWhole = bytesLeft >= 0;
  const decoders = selectDecoders(toHeaderText(headers['content-encoding']) ?? '');
  // An empty body is valid in any coding: proxies keep the header when there is nothing to compress.
  if (decoders?.length === 0 || (bytes.length === 0 && isWhole)) {
    return { bodyText: bytes.toString(), isWhole };
  }
  if (decoders === null || !isWhole) return undecodable;
  try {
    let decoded: Buffer = bytes;
    for (const decode of decoders) decoded = await decode(decoded, { maxOutputLength: maxBytes });
    return { bodyText: decoded.toString(), isWhole };
  } catch {
    return undecodable;
  }
}

/** Runs outside of the main thread. Rejects bytes that are damaged, incomplete or longer than the bound. */
type Decode = (bytes: Buffer, options: { readonly maxOutputLength: number }) => Promise<Buffer>;

const inflateWithHeader: Decode = promisify(inflate);
const inflateWithoutHeader: Decode = promisify(inflateRaw);
const decodeGzip: Decode = promisify(gunzip);

/** The names are those of the IANA registry, in lower case. Node 20 has no zstd. */
const decodersByName: ReadonlyMap<string, Decode> = new Map([
  ['gzip', decodeGzip],
  ['x-gzip', decodeGzip],
  // The standard means a zlib stream by "deflate", but some servers send a bare one.
  [
    'deflate',
    (bytes, options) => (isZlib(bytes) ? inflateWithHeader : inflateWithoutHeader)(bytes, options),
  ],
  ['br', promisify(brotliDecompress)],
]);
/** Each coding costs a pass, and no known server uses more. */
const maxCodings = 4;

/** Returns the decoders in the order in which they are applied; null if one is unknown or there are too many. */
function selectDecoders(contentEncoding: string): readonly Decode[] | null {
  const decoders: Decode[] = [];
  for (const part of contentEncoding.split(',')) {
    const coding = part.trim().toLowerCase();
    if (coding === '' || coding === 'identity') continue;
    const decode = decodersByName.get(coding);
    if (decode === undefined || decoders.length === maxCodings) return null;
    decoders.unshift(decode);
  }
  return decoders;
}

/** RFC 1950, 2.2: compression method 8, and a header that is a multiple of 31. */
function isZlib(bytes: Buffer): boolean {
  if (bytes.length < 2) return false;
  return ((bytes[0] ?? 0) & 0x0f) === 8 && bytes.readUInt16BE(0) % 31 === 0;
}

/** The first row that matches counts. The codes come from undici, Node's llhttp and TLS, and the system. */
const failureTable: readonly (readonly [RegExp, FailureCode, string])[] = [
  [/^RELAY_LEASE_OVER$/, 'lease', 'the relay stood still for too long and broke off'],
  [/^PROXY_407$/, 'proxy_auth', 'the proxy does not take the credentials of its URL'],
  [/^PROXY_/, 'proxy', 'no way through the proxy'],
  [/^UND_ERR_(DESTROYED|CLOSED)$/, 'closed', 'the relay closed the connection'],
  [/^(UND_ERR_CONNECT_TIMEOUT|ETIMEDOUT)$/, 'connect', 'no connection in time'],
  [/^(ENOTFOUND|EAI_\w+)$/, 'dns', 'the name was not found'],
  [/^(ECONNREFUSED|EHOSTUNREACH|ENETUNREACH|EADDRNOTAVAIL)$/, 'connect', 'no connection'],
  [/CERT|TLS|SSL|SIGNATURE|^EPROTO$/, 'tls', 'no secure connection'],
  [/^(HTTPParserError|HPE_\w+|UND_ERR_HEADERS_OVERFLOW)$/, 'protocol', 'the answer was not HTTP'],
  [
    /^(ECONNRESET|ECONNABORTED|EPIPE|UND_ERR_SOCKET|UND_ERR_RES_CONTENT_LENGTH_MISMATCH)$/,
    'reset',
    'the connection broke',
  ],
];

/** The detail is the relay's own text, because an error's message may quote an address or sent data. */
function toTransportFailure(
  error: unknown,
  { isTimedOut, status }: { readonly isTimedOut: boolean; readonly status: number | null },
): TransportFailure {
  if (isTimedOut) return { ok: false, code: 'timeout', detail: 'no answer in time', status };
  const found = collectErrorCodes(error);
  for (const [pattern, code, text] of failureTable) {
    const match = found.find((each) => pattern.test(each));
    if (match !== undefined) return { ok: false, code, detail: `${text} (${match})`, status };
  }
  const [first] = found;
  const detail = `no answer${first === undefined ? '' : ` (${first})`}`;
  return { ok: false, code: 'network', detail, status };
}

/**
 * The codes of an error and of its causes. An AggregateError has one cause for each address that was
 * tried. undici's HTTPParserError has no code, so its name is used.
 */
function collectErrorCodes(error: unknown, depth = 0): readonly string[] {
  if (!(error instanceof Error) || depth > 3) return [];
  const own = 'code' in error && typeof error.code === 'string' ? error.code : error.name;
  const causes = error instanceof AggregateError ? Array.from<unknown>(error.errors) : [];
  return [own, ...[...causes, error.cause].flatMap((cause) => collectErrorCodes(cause, depth + 1))];
}
