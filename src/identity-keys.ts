import { hash } from 'node:crypto';

/**
 * Identity keys: hashes of the identifiers of a person. Envelopes carry them, and whatever concerns one
 * person is found by them.
 */

/** The identifiers of a person, in the form in which Klaviyo gets them. */
export type Identifiers = {
  readonly email?: string;
  /** E.164. */
  readonly phoneNumber?: string;
  readonly externalId?: string;
  /** Of events only. */
  readonly anonymousId?: string;
};

/** 132 of SHA-256's 256 bits: a collision by chance is out of reach, and keys stay short in every store. */
const keyChars = 22;

/** One key per identifier. `prefix` is what the keys are about besides the person. */
export function hashIdentifiers(identifiers: Identifiers, prefix = ''): readonly string[] {
  const keys: string[] = [];
  const { email, phoneNumber, externalId, anonymousId } = identifiers;
  // Klaviyo compares e-mail addresses without regard to case, and other identifiers exactly.
  if (email !== undefined) keys.push(`e${hashIdentifier(prefix, email.toLowerCase())}`);
  if (phoneNumber !== undefined) keys.push(`p${hashIdentifier(prefix, phoneNumber)}`);
  if (externalId !== undefined) keys.push(`x${hashIdentifier(prefix, externalId)}`);
  if (anonymousId !== undefined) keys.push(`a${hashIdentifier(prefix, anonymousId)}`);
  // An array that grew by push has capacity for 17 elements, and each waiting envelope keeps its array.
  return keys.slice();
}

function hashIdentifier(prefix: string, identifier: string): string {
  return hash('sha256', prefix + identifier, 'base64url').slice(0, keyChars);
}
