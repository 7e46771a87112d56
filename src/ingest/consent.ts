import { hash } from 'node:crypto';
import { isJsonObject } from '../json/json.js';
import type { Draft, Envelope } from '../model/envelope.js';
import type { Fact } from '../model/fact.js';
import { parseSubscriptionGroup, readDecidedAt, readElement, readGroup } from '../model/group.js';
import type { Reason } from '../model/outcome.js';
import type { GetFacts } from './facts.js';

/**
 * A consent never overrides an unsubscription that the person decided later.
 *
 * The order of the lanes keeps what was accepted in order. Two cases remain: a consent from the past that
 * is posted after the unsubscription, and a subscription that was a dead letter meanwhile. So an accepted
 * unsubscription leaves a fact for each identifier, channel and message type, and for its list if it
 * names one. Before a subscription is sent, it is compared with these facts.
 */

/** The facts that the unsubscriptions among the drafts leave. */
export function toRevocations(drafts: readonly Draft[]): readonly Fact[] {
  return drafts.flatMap(({ lane, keys, payload, deadLetterReason }): readonly Fact[] => {
    // A draft that is a dead letter already has another form, and was never an unsubscription.
    if (lane !== 'unsubscribe' || deadLetterReason !== undefined) return [];
    const { listId = everywhere } = parseSubscriptionGroup(readGroup(payload));
    const decidedAt = readDecidedAt(payload);
    // The identity key lets an erasure find the fact.
    return listConsents(keys, payload).map((consent) => ({
      kind: 'consent',
      key: toConsentKey(consent, listId),
      value: `${decidedAt} ${consent.identity}`,
    }));
  });
}

/** Epoch ms of the value of a fact; -Infinity if there is none. */
const readRevokedAt = (value: string | null | undefined): number =>
  value == null ? -Infinity : parseInt(value, 10);

/** Leaves out revocations that are older than the stored ones: unsubscriptions may be posted late, with their time. */
export async function keepNewestRevocations(
  revocations: readonly Fact[],
  getFacts: GetFacts,
): Promise<readonly Fact[]> {
  if (revocations.length === 0) return revocations;
  const newest = new Map<string, Fact>();
  for (const fact of revocations) {
    if (readRevokedAt(fact.value) >= readRevokedAt(newest.get(fact.key)?.value)) {
      newest.set(fact.key, fact);
    }
  }
  const facts = [...newest.values()];
  const stored = await getFacts(facts.map(({ key }) => key));
  return facts.filter(({ value }, at) => readRevokedAt(value) >= readRevokedAt(stored[at]));
}

/**
 * Returns the reason for each subscription whose consent is older than the newest unsubscription, by the id
 * of its envelope. A consent that was new when it was accepted is not compared: the order of the lanes
 * sends it before a later unsubscription.
 */
export async function findRevoked(
  envelopes: readonly Envelope[],
  getFacts: GetFacts,
): Promise<ReadonlyMap<string, Reason>> {
  const questions = envelopes.flatMap((envelope) => {
    const { listId } = parseSubscriptionGroup(readGroup(envelope.payload));
    const places = listId === undefined ? [everywhere] : [everywhere, listId];
    return listConsents(envelope.keys, envelope.payload).flatMap((consent) =>
      places.map((place) => ({ envelope, consent, key: toConsentKey(consent, place) })),
    );
  });
  const found = await getFacts(questions.map(({ key }) => key));
  const revoked = new Map<string, Reason>();
  questions.forEach(({ envelope, consent }, index) => {
    const revokedAt = readRevokedAt(found[index]);
    const decidedAt = readDecidedAt(envelope.payload);
    // A redrive accepts the envelope anew, so a consent that was a dead letter meanwhile is compared.
    // The time in the payload has whole ms.
    const isFromThePast = decidedAt < Math.floor(envelope.acceptedAt);
    if (isFromThePast && decidedAt < revokedAt) {
      const at = new Date(revokedAt).toISOString();
      const detail = `the person withdrew the consent for ${consent.channel} ${consent.type} later, at ${at}`;
      revoked.set(envelope.id, { code: 'consent_withdrawn', detail });
    }
  });
  return revoked;
}

/** Stands for the lists of an unsubscription from everything; no list has this name. */
const everywhere = '*';

type Consent = {
  /** The identity key of the address or number. */
  readonly identity: string;
  readonly channel: string;
  readonly type: string;
};

/** The consents that an element gives or withdraws. */
function listConsents(keys: readonly string[], payload: Uint8Array): readonly Consent[] {
  const element: unknown = JSON.parse(Buffer.from(readElement(payload)).toString());
  const attributes = isJsonObject(element) ? element.attributes : undefined;
  const subscriptions = isJsonObject(attributes) ? attributes.subscriptions : undefined;
  if (!isJsonObject(subscriptions)) return [];
  return Object.entries(subscriptions).flatMap(([channel, types]) => {
    // The first character of a key is the kind of the identifier (identity.ts).
    const identity = keys.find((key) => key.startsWith(channel === 'email' ? 'e' : 'p'));
    if (identity === undefined || !isJsonObject(types)) return [];
    return Object.keys(types).map((type) => ({ identity, channel, type }));
  });
}

const toConsentKey = ({ identity, channel, type }: Consent, place: string): string =>
  hash('sha256', `consent\n${identity}\n${channel}.${type}\n${place}`, 'base64url');
