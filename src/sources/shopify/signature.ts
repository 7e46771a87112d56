import { createHmac, hash, timingSafeEqual } from 'node:crypto';

const digest = (text: string): Buffer => hash('sha256', text, 'buffer');

/**
 * Returns true if `presented` is the base64 of the body's HMAC-SHA256 with one of these secrets. The
 * time it takes does not depend on which secret it is: digests of one length, all of them compared.
 */
export function isSigned(body: Buffer, presented: string, secrets: readonly string[]): boolean {
  const given = digest(presented);
  let found = false;
  for (const secret of secrets) {
    const expected = createHmac('sha256', secret).update(body).digest('base64');
    if (timingSafeEqual(digest(expected), given)) found = true;
  }
  return found;
}

/** Returns true for the base64 of 32 bytes. Anything else is refused before the body is read. */
export function isSignatureForm(presented: string): boolean {
  return /^[A-Za-z0-9+/]{43}=$/.test(presented);
}
