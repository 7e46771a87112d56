import type { Headers } from './rate-headers.js';

/** An answer, or why there is none; a value, never an exception. */
export type Reply =
  | {
      readonly ok: true;
      readonly status: number;
      readonly headers: Headers;
      readonly bodyText: string;
    }
  | { readonly ok: false; readonly code: string; readonly detail: string };

export type Request = {
  readonly method: 'GET' | 'POST';
  readonly path: string;
  readonly body?: Buffer;
};

/** Makes one request, bounded in time; resolves whatever happens. */
export type Transport = (request: Request) => Promise<Reply>;

const codes: readonly (readonly [RegExp, string])[] = [
  [/TIMEOUT|AbortError|TimeoutError/, 'timeout'],
  [/ENOTFOUND|EAI_AGAIN/, 'dns'],
  [/ECONNREFUSED|EHOSTUNREACH|ENETUNREACH|CONNECT/, 'connect'],
  [/CERT|TLS|SSL/, 'tls'],
];

/** Short and stable, for logs and labels; what is not known counts as a cut connection. */
export function toFailure(error: unknown): Reply {
  const {
    name = '',
    code = '',
    message = '',
  } = error instanceof Error
    ? { ...error, name: error.name, code: codeOf(error), message: error.message }
    : {};
  const found = codes.find(([pattern]) => pattern.test(`${name} ${code}`));
  return { ok: false, code: found?.[1] ?? 'reset', detail: message === '' ? 'no answer' : message };
}

function codeOf(error: Error): string {
  return 'code' in error && typeof error.code === 'string' ? error.code : '';
}
