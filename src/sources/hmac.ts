import { createHmac, hash, timingSafeEqual } from 'node:crypto';

/** Verification of HMAC signatures, in the forms that webhook senders use. */

export const hmacAlgorithms = ['sha256', 'sha1', 'sha512'] as const;
export type HmacAlgorithm = (typeof hmacAlgorithms)[number];

export const hmacEncodings = ['hex', 'base64'] as const;
export type HmacEncoding = (typeof hmacEncodings)[number];

export type HmacForm = { readonly algorithm: HmacAlgorithm; readonly encoding: HmacEncoding };

export type SignedContent = {
  /** Signatures as the sender wrote them. */
  readonly signatures: readonly string[];
  readonly secrets: readonly (string | Buffer)[];
  /** What is signed, in parts that follow each other. */
  readonly content: readonly (string | Buffer)[];
};

const sha256 = (text: string): Buffer => hash('sha256', text, 'buffer');

/**
 * Returns true if one of the signatures is the HMAC of the content with one of the secrets. It compares
 * every signature with every secret, as digests of equal length, so that its duration reveals nothing.
 */
export function isSigned(
  { signatures, secrets, content }: SignedContent,
  { algorithm, encoding }: HmacForm,
): boolean {
  const given = signatures.map((text) => sha256(canonicalizeSignature(text, encoding)));
  let isFound = false;
  for (const secret of secrets) {
    const hmac = createHmac(algorithm, secret);
    for (const part of content) hmac.update(part);
    const expected = sha256(canonicalizeSignature(hmac.digest(encoding), encoding));
    for (const each of given) if (timingSafeEqual(each, expected)) isFound = true;
  }
  return isFound;
}

/** Lower-case hex, or base64 in the standard alphabet without padding. Senders use all variants. */
function canonicalizeSignature(text: string, encoding: HmacEncoding): string {
  if (encoding === 'hex') return text.toLowerCase();
  return text.replaceAll('-', '+').replaceAll('_', '/').replace(/=+$/, '');
}

const hmacBytes: Readonly<Record<HmacAlgorithm, number>> = { sha256: 32, sha1: 20, sha512: 64 };

/** Returns false if the text cannot be a signature, whatever the content is. */
export function isSignatureForm(text: string, { algorithm, encoding }: HmacForm): boolean {
  const bytes = hmacBytes[algorithm];
  if (encoding === 'hex') return text.length === bytes * 2 && /^[0-9a-f]*$/i.test(text);
  const chars = Math.ceil((bytes * 4) / 3);
  return text.replace(/={1,2}$/, '').length === chars && /^[\w+/-]*={0,2}$/.test(text);
}
