import { createHmac, timingSafeEqual } from 'node:crypto';

export type SignatureRules = {
  readonly secrets: readonly string[];
  /** Age in seconds, at most. */
  readonly toleranceSeconds: number;
  /** Epoch ms. */
  readonly now: number;
};

/** `detail`: what is wrong, in words for the sender. */
export type Verified = { readonly ok: true } | { readonly ok: false; readonly detail: string };

type Signed = { readonly timestamp: number; readonly signatures: readonly string[] };

/** Characters of an HMAC-SHA256 in hex. */
const signatureChars = 64;

/**
 * Whether one of the secrets signed this body: the verdicts of stripe-node 23.1.0 (Webhooks.js), which
 * test/http/stripe-signature.test.ts compares. A timestamp ahead of us passes there, as only age counts;
 * so does one that is no number, since its signer has the secret.
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

/** What the header alone says: no body is read for one that cannot be right, whatever the body is. */
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

/** The last timestamp counts; all signatures of the scheme v1 do. */
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

/** stripe-node fails on these, whatever stands beside them. */
function isBroken(signature: string): boolean {
  return (
    signature === '' ||
    (signature.length === signatureChars && Buffer.byteLength(signature) !== signatureChars)
  );
}

/** Every signature against every secret, however soon one matches: the time taken tells nothing. */
function matchesAnySecret(
  { timestamp, signatures }: Signed,
  body: Uint8Array,
  secrets: readonly string[],
): boolean {
  const candidates = signatures
    .filter((signature) => signature.length === signatureChars)
    .map((signature) => Buffer.from(signature));
  let isFound = false;
  // Anybody can sign with a blank secret.
  for (const secret of secrets.filter((each) => /[^ \t\r\n\f\v]/.test(each))) {
    const hmac = createHmac('sha256', secret).update(`${timestamp}.`).update(body);
    const expected = Buffer.from(hmac.digest('hex'));
    for (const candidate of candidates) {
      if (timingSafeEqual(candidate, expected)) isFound = true;
    }
  }
  return isFound;
}
