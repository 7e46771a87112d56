import { hash, timingSafeEqual } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';
import { isSignatureForm, isSigned } from '../hmac.js';
import { readTime } from '../time.js';
import type { WebhookCaller } from '../webhook.js';
import type { Verify } from './section.js';

export type VerifyContext = {
  readonly secrets: readonly string[];
  /** Epoch ms. */
  readonly now: number;
};

type Hmac = NonNullable<Verify['hmac']>;
type Token = NonNullable<Verify['token']>;

/** Checks the headers and the URL. Returns the error, or null if the body is needed to decide. */
export function checkCallerHeaders(
  { hmac, token }: Verify,
  caller: WebhookCaller,
  context: VerifyContext,
): string | null {
  if (token !== undefined) return checkToken(token, caller, context);
  return hmac === undefined
    ? 'nothing is configured that checks it'
    : checkHmacHeaders(hmac, caller, context);
}

/** Checks the signature of this body. Returns the error, or null if the signature is valid. */
export function checkCallerBody(
  { hmac, token }: Verify,
  request: WebhookCaller & { readonly bytes: Buffer },
  context: VerifyContext,
): string | null {
  if (token !== undefined) return checkToken(token, request, context);
  if (hmac === undefined) return 'nothing is configured that checks it';
  const { headers, bytes } = request;
  const fault = checkHmacHeaders(hmac, request, context);
  if (fault !== null) return fault;
  const timestamp = readTimestamp(hmac, headers) ?? '';
  const id = hmac.idHeader === undefined ? '' : (findCallerHeader(headers, hmac.idHeader) ?? '');
  const content = hmac.signed.split(/(\{body\}|\{timestamp\}|\{id\})/).map((part) => {
    if (part === '{body}') return bytes;
    if (part === '{timestamp}') return timestamp;
    return part === '{id}' ? id : part;
  });
  const secrets = context.secrets.flatMap((secret) => decodeSecret(secret, hmac) ?? []);
  return isSigned({ signatures: readSignatures(hmac, headers), secrets, content }, hmac)
    ? null
    : noMatch;
}

const noMatch = 'no secret of this webhook made this signature of the body';

function checkHmacHeaders(
  hmac: Hmac,
  { headers }: WebhookCaller,
  { now }: VerifyContext,
): string | null {
  if (findCallerHeader(headers, hmac.header) === undefined)
    return `the header ${hmac.header} is missing`;
  if (hmac.idHeader !== undefined && findCallerHeader(headers, hmac.idHeader) === undefined) {
    return `the header ${hmac.idHeader} is missing`;
  }
  const signatures = readSignatures(hmac, headers);
  if (!signatures.some((text) => isSignatureForm(text, hmac))) return noMatch;
  if (hmac.timestampHeader === undefined && hmac.timestampKey === undefined) return null;
  const time = readTime(readTimestamp(hmac, headers));
  if (time.kind !== 'read') return 'the time of the signature is missing, or no time';
  const isNow = Math.abs(now - time.at) <= hmac.toleranceSeconds * 1000;
  return isNow ? null : `the signature is not of the last ${hmac.toleranceSeconds} seconds`;
}

/** Reads all signatures: while a secret is replaced, senders sign with both. */
function readSignatures(hmac: Hmac, headers: IncomingHttpHeaders): readonly string[] {
  const { key, prefix } = hmac;
  const text = findCallerHeader(headers, hmac.header) ?? '';
  const values =
    key === undefined
      ? text.split(/\s+/)
      : readPairs(text).flatMap(([name, value]) => (name === key ? [value] : []));
  return values.flatMap((value) => (value.startsWith(prefix) ? [value.slice(prefix.length)] : []));
}

function readTimestamp(hmac: Hmac, headers: IncomingHttpHeaders): string | undefined {
  if (hmac.timestampHeader !== undefined) return findCallerHeader(headers, hmac.timestampHeader);
  const pairs = readPairs(findCallerHeader(headers, hmac.header) ?? '');
  return pairs.find(([name]) => name === hmac.timestampKey)?.[1];
}

/** Parses pairs such as `t=1,v1=a` or `ts=1;h1=a`. */
function readPairs(text: string): readonly (readonly [string, string])[] {
  return text.split(/[,;]\s*|\s+/).map((pair) => {
    const [, name = '', value = ''] = /^([^=]*)=(.*)$/.exec(pair) ?? [];
    return [name, value];
  });
}

/** Decodes a secret. Null if it is not in the encoding that the mapping file names. */
export function decodeSecret(secret: string, { secretEncoding }: Hmac): string | Buffer | null {
  if (secretEncoding === 'text') return secret;
  // Standard Webhooks writes this prefix.
  const text = secret.replace(/^whsec_/, '');
  const isRight = secretEncoding === 'hex' ? /^(?:[0-9a-f]{2})+$/i : /^[\w+/-]+={0,2}$/;
  return isRight.test(text) ? Buffer.from(text, secretEncoding) : null;
}

function checkToken(
  token: Token,
  caller: WebhookCaller,
  { secrets }: VerifyContext,
): string | null {
  const where = token.query === undefined ? `the header ${tokenHeaderName(token)}` : 'the query';
  const given = readToken(token, caller);
  if (given === undefined) return `${where} has no token`;
  let isFound = false;
  for (const secret of secrets) {
    const expected = token.basic ? Buffer.from(secret).toString('base64') : secret;
    if (timingSafeEqual(hashSha256(given), hashSha256(expected))) isFound = true;
  }
  return isFound ? null : `${where} has no token of this webhook`;
}

const hashSha256 = (text: string): Buffer => hash('sha256', text, 'buffer');

const tokenHeaderName = ({ header }: Token): string => header ?? 'Authorization';

function readToken(token: Token, { headers, url }: WebhookCaller): string | undefined {
  if (token.query !== undefined) {
    return new URLSearchParams(url.split('?')[1] ?? '').get(token.query) ?? undefined;
  }
  const text = findCallerHeader(headers, tokenHeaderName(token));
  const prefix = token.basic ? 'Basic ' : token.prefix;
  if (text === undefined) return undefined;
  const isPrefixed = text.slice(0, prefix.length).toLowerCase() === prefix.toLowerCase();
  return isPrefixed ? text.slice(prefix.length) : undefined;
}

/** An empty header counts as absent. */
function findCallerHeader(headers: IncomingHttpHeaders, name: string): string | undefined {
  const value = headers[name.toLowerCase()];
  return typeof value === 'string' && value.trim() !== '' ? value.trim() : undefined;
}
