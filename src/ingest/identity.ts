import { hash } from 'node:crypto';

/** What names a person, as it goes to Klaviyo. */
export type Identifiers = {
  readonly email?: string;
  /** E.164. */
  readonly phoneNumber?: string;
  readonly externalId?: string;
  /** Of events alone. */
  readonly anonymousId?: string;
};

/** 132 of SHA-256's 256 bits: a repeat by chance is out of reach, and keys stay short in every store. */
const keyChars = 22;

/** One key per identifier: two profiles that share one are the same person, or may be merged into one. */
export function toProfileKeys(identifiers: Identifiers): readonly string[] {
  return toKeys(identifiers, '');
}

/** One key per identifier: two events that share one are the same event in Klaviyo's eyes. */
export function toEventKeys(
  identifiers: Identifiers,
  metric: string,
  uniqueId: string,
): readonly string[] {
  // The length tells where the metric's name ends; without it two events could be written alike.
  return toKeys(identifiers, `${metric.length}:${metric}${uniqueId.length}:${uniqueId}`);
}

function toKeys(identifiers: Identifiers, about: string): readonly string[] {
  const keys: string[] = [];
  const { email, phoneNumber, externalId, anonymousId } = identifiers;
  // Klaviyo finds a person by an e-mail address in any case; other ids are compared as they are.
  if (email !== undefined) keys.push(`e${digest(about, email.toLowerCase())}`);
  if (phoneNumber !== undefined) keys.push(`p${digest(about, phoneNumber)}`);
  if (externalId !== undefined) keys.push(`x${digest(about, externalId)}`);
  if (anonymousId !== undefined) keys.push(`a${digest(about, anonymousId)}`);
  // What grew by push has room for 17, and is kept with each envelope that waits.
  return keys.slice();
}

function digest(about: string, identifier: string): string {
  return hash('sha256', about + identifier, 'base64url').slice(0, keyChars);
}
