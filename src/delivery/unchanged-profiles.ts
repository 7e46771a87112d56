import { hash } from 'node:crypto';
import type { Clock } from '../clock.js';
import type { Destination } from '../model/destination.js';
import type { BatchItem } from '../model/envelope.js';
import type { Lane } from '../model/lane.js';
import type { SettledEnvelope } from '../model/store.js';
import { buildPayloads } from './batcher.js';

/**
 * Finds profiles that are equal to what this relay delivered last for the same person
 * (PROFILE_UNCHANGED_TTL). Their request would change nothing, so it is not made.
 *
 * A profile is unchanged if each of its identity keys was delivered last with the same payload, byte for
 * byte, and its import job was complete. Before a request of a lane of persons leaves, the keys of its
 * envelopes are forgotten, because from then on Klaviyo may have something else. They are known again
 * when the import job is complete and no other request named one of them meanwhile.
 *
 * Everything is in memory, so nothing is known after a start: meanwhile another process may have written,
 * without the setting or with an older copy of the data.
 */
export class UnchangedProfiles {
  readonly #options: UnchangedProfilesOptions;
  /** By identity key, the oldest first. */
  readonly #delivered = new Map<string, Delivered>();
  /** The last profile in flight of each identity key. */
  readonly #lastSent = new Map<string, Sent>();
  /** By the id of the oldest envelope of the item. */
  readonly #inFlight = new Map<string, Sent>();

  constructor(options: UnchangedProfilesOptions) {
    this.#options = options;
  }

  /** Selects the items of a claim that are unchanged. */
  select(lane: Lane, items: readonly BatchItem[]): readonly BatchItem[] {
    if (lane !== 'profiles' || this.#delivered.size === 0) return [];
    const since = this.#options.clock.monotonic() - this.#options.ttlMs;
    return items.filter((item) => {
      const found = toKeys(item).map((key) => this.#delivered.get(key));
      const [first] = found;
      if (first === undefined) return false;
      if (found.some((each) => each?.digest !== first.digest || each.at <= since)) return false;
      return buildPayloads([item], this.#options.destination).map(toDigest)[0] === first.digest;
    });
  }

  /** To be called before a request leaves. There is one payload for each item. */
  noteRequest(lane: Lane, items: readonly BatchItem[], payloads: readonly Uint8Array[]): void {
    // Events have other keys. Klaviyo creates or links a profile for them, and writes no field of it.
    if (lane === 'events') return;
    // Klaviyo deletes a profile with all its identifiers, also with those that the erasure does not name.
    if (lane === 'erase') {
      this.#delivered.clear();
      this.#lastSent.clear();
      return;
    }
    items.forEach((item, index) => {
      const keys = toKeys(item);
      for (const key of keys) {
        this.#delivered.delete(key);
        this.#lastSent.delete(key);
      }
      const payload = payloads[index];
      if (lane !== 'profiles' || payload === undefined) return;
      this.#forget(item);
      const sent = { digest: toDigest(payload), keys };
      this.#inFlight.set(item[0].id, sent);
      for (const key of keys) this.#lastSent.set(key, sent);
    });
  }

  /**
   * To be called with the verdicts of a request, or of an import job, before they are settled. Items whose
   * import job runs stay in flight. `isConfirmed`: Klaviyo said that it imported what was acknowledged.
   */
  noteVerdicts(
    items: readonly BatchItem[],
    settled: readonly SettledEnvelope[],
    isConfirmed: boolean,
  ): void {
    if (this.#inFlight.size === 0) return;
    const kinds = new Map(settled.map(({ envelope, verdict }) => [envelope.id, verdict.kind]));
    const at = this.#options.clock.monotonic();
    for (const item of items) {
      const verdicts = item.map(({ id }) => kinds.get(id));
      if (verdicts[0] === 'poll') continue;
      const sent = this.#inFlight.get(item[0].id);
      const isDelivered = isConfirmed && verdicts.every((kind) => kind === 'ack');
      const isLast = sent?.keys.every((key) => this.#lastSent.get(key) === sent) === true;
      this.#forget(item);
      if (!isDelivered || !isLast) continue;
      for (const key of sent.keys) this.#delivered.set(key, { digest: sent.digest, at });
    }
    this.#dropOldest(at - this.#options.ttlMs);
  }

  /** The number of identity keys in memory. */
  get size(): number {
    return this.#delivered.size + this.#lastSent.size;
  }

  #forget(item: BatchItem): void {
    const sent = this.#inFlight.get(item[0].id);
    if (sent === undefined) return;
    this.#inFlight.delete(item[0].id);
    for (const key of sent.keys) if (this.#lastSent.get(key) === sent) this.#lastSent.delete(key);
  }

  #dropOldest(since: number): void {
    for (const [key, { at }] of this.#delivered) {
      if (this.#delivered.size <= this.#options.maxCount && at > since) return;
      this.#delivered.delete(key);
    }
  }
}

export type UnchangedProfilesOptions = {
  /** How long a delivered profile is known. */
  readonly ttlMs: number;
  /** Maximum number of identity keys. The oldest are forgotten first. */
  readonly maxCount: number;
  readonly clock: Pick<Clock, 'monotonic'>;
  readonly destination: Pick<Destination, 'merge'>;
};

type Delivered = {
  readonly digest: string;
  /** Monotonic ms. */
  readonly at: number;
};

type Sent = { readonly digest: string; readonly keys: readonly string[] };

const toDigest = (payload: Uint8Array): string => hash('sha256', payload, 'base64url');

const toKeys = (item: BatchItem): readonly string[] =>
  item.length === 1 ? item[0].keys : [...new Set(item.flatMap(({ keys }) => keys))];
