import type { Headers } from './rate-headers.js';

/** An answer, or why there is none; a value, never an exception. */
export type TransportResponse =
  | {
      readonly ok: true;
      readonly status: number;
      readonly headers: Headers;
      /** Cut off where it is longer than anyone needs; empty where it cannot be decoded. */
      readonly bodyText: string;
      /** False in both cases: then nothing in it counts as Klaviyo's success. */
      readonly isWhole: boolean;
      /** Klaviyo does not serve the revision of the request any more: this one is used from now on. */
      readonly movedTo?: string;
    }
  | TransportFailure;

export type TransportFailure = {
  readonly ok: false;
  /** Short and stable: a metric's label. */
  readonly code: FailureCode;
  readonly detail: string;
  /** There where the answer began and broke off. */
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

export type KlaviyoRequest = {
  readonly method: 'GET' | 'POST';
  /** Below the base URL, with its query. */
  readonly path: string;
  readonly body?: Buffer;
  /** Absent: the one in use. */
  readonly revision?: string | undefined;
  /** Asked while the body is written; false breaks the request off before it is whole. Absent: it goes. */
  readonly stillOwned?: (() => boolean) | undefined;
};

/** Makes one request, bounded in time; resolves whatever happens. */
export type Transport = (request: KlaviyoRequest) => Promise<TransportResponse>;

/** The first that fits counts. Codes are those of undici, of Node's llhttp and TLS, and of the system. */
const failures: readonly (readonly [RegExp, FailureCode, string])[] = [
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

/** What is known of a request when it fails. */
export type Progress = { readonly isTimedOut: boolean; readonly status: number | null };

/** Words of our own: those of the error may quote an address or what was sent. */
export function toTransportFailure(
  error: unknown,
  { isTimedOut, status }: Progress,
): TransportFailure {
  if (isTimedOut) return { ok: false, code: 'timeout', detail: 'no answer in time', status };
  const found = toCodes(error);
  for (const [pattern, code, words] of failures) {
    const match = found.find((each) => pattern.test(each));
    if (match !== undefined) return { ok: false, code, detail: `${words} (${match})`, status };
  }
  const [first] = found;
  return {
    ok: false,
    code: 'network',
    detail: `no answer${first === undefined ? '' : ` (${first})`}`,
    status,
  };
}

/**
 * An error's codes, its own and those of what caused it; an AggregateError has one for each address
 * tried. undici's HTTPParserError has none, so a name stands in.
 */
function toCodes(error: unknown, depth = 0): readonly string[] {
  if (!(error instanceof Error) || depth > 3) return [];
  const own = 'code' in error && typeof error.code === 'string' ? error.code : error.name;
  const causes = error instanceof AggregateError ? Array.from<unknown>(error.errors) : [];
  return [own, ...[...causes, error.cause].flatMap((cause) => toCodes(cause, depth + 1))];
}
