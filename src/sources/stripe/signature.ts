import { createHmac, timingSafeEqual } from 'node:crypto';

export type SignatureRules = {
  readonly secrets: readonly string[];
  /** Age in seconds, at most. */
  readonly toleranceSeconds: number;
  /** Epoch ms. */
  readonly now: number;
};

/** The result of a check. `detail` describes the fault to the sender. */
export type Verified = { readonly ok: true } | { readonly ok: false; readonly detail: string };

type Signed = { readonly timestamp: number; readonly signatures: readonly string[] };

/** Characters of an HMAC-SHA256 in hex. */
const signatureChars = 64;

/**
 * Checks that one of the secrets signed this body. The results are those of stripe-node 23.1.0
 * (Webhooks.js); test/sources/stripe/signature.test.ts compares both. As there, a timestamp in the future
 * passes, because only age is checked, and so does one that is not a number, because it is signed.
 */
export function verifyStripeSignature(
  header: string | undefined,
  body: Uint8Array,
  rules: SignatureRules,
): Verified {
  const read = readSigned(header);
  if (!read.ok) return read;
  if (!matchesAnySecret(read.signed, body, rules.secrets)) return failVerification(noMatch);
  return checkAge(read.signed, rules);
}

/** Checks the header alone, so that no body is read for a signature that cannot be valid. */
export function checkStripeHeader(
  header: string | undefined,
  rules: Omit<SignatureRules, 'secrets'>,
): Verified {
  const read = readSigned(header);
  if (!read.ok) return read;
  const isLikely = read.signed.signatures.some((each) => /^[0-9a-f]{64}$/.test(each));
  return isLikely ? checkAge(read.signed, rules) : failVerification(noMatch);
}

const noMatch = 'no secret matches Stripe-Signature; is it the secret of this endpoint?';

type ReadSigned = { readonly ok: true; readonly signed: Signed } | Extract<Verified, { ok: false }>;

function readSigned(header: string | undefined): ReadSigned {
  if (header === undefined || header === '')
    return failVerification('the header Stripe-Signature is missing');
  const signed = parseSignatureHeader(header);
  if (signed.timestamp === -1) return failVerification('Stripe-Signature has no timestamp: t=…');
  if (signed.signatures.length === 0)
    return failVerification('Stripe-Signature has no signature: v1=…');
  if (signed.signatures.some(isBroken)) {
    return failVerification('Stripe-Signature has a v1 that is no signature');
  }
  return { ok: true, signed };
}

function checkAge(
  { timestamp }: Signed,
  { now, toleranceSeconds }: Omit<SignatureRules, 'secrets'>,
): Verified {
  const age = Math.floor(now / 1000) - timestamp;
  if (age > toleranceSeconds) {
    return failVerification(
      `Stripe-Signature is too old: more than ${toleranceSeconds} s (STRIPE_TOLERANCE_SECONDS)`,
    );
  }
  return { ok: true };
}

function failVerification(detail: string): Extract<Verified, { ok: false }> {
  return { ok: false, detail };
}

/** Uses the last timestamp and all signatures of the scheme v1. */
function parseSignatureHeader(header: string): Signed {
  let timestamp = -1;
  const signatures: string[] = [];
  for (const part of header.split(',')) {
    const [name, value = ''] = part.split('=');
    if (name === 't') timestamp = parseInt(value, 10);
    if (name === 'v1') signatures.push(value);
  }
  return { timestamp, signatures };
}

/** stripe-node rejects a header with such a signature, even if another one is valid. */
function isBroken(signature: string): boolean {
  return (
    signature === '' ||
    (signature.length === signatureChars && Buffer.byteLength(signature) !== signatureChars)
  );
}

/** Compares every signature with every secret, so that the duration reveals nothing. */
function matchesAnySecret(
  { timestamp, signatures }: Signed,
  body: Uint8Array,
  secrets: readonly string[],
): boolean {
  const candidates = signatures
    .filter((signature) => signature.length === signatureChars)
    .map((signature) => Buffer.from(signature));
  let isFound = false;
  // A blank secret is ignored, because anyone can sign with it.
  for (const secret of secrets.filter((each) => /[^ \t\r\n\f\v]/.test(each))) {
    const hmac = createHmac('sha256', secret).update(`${timestamp}.`).update(body);
    const expected = Buffer.from(hmac.digest('hex'));
    for (const candidate of candidates) {
      if (timingSafeEqual(candidate, expected)) isFound = true;
    }
  }
  return isFound;
}
