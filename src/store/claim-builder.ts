import type { ClaimBounds, Envelope } from '../model/envelope.js';
import { readGroup } from '../model/group.js';
import type { LaneTraits } from '../model/lane.js';

/** An envelope that a claim may include; `alone` means that it must not merge with others. */
export type Candidate = Envelope & { readonly alone: boolean };

/** `merges` and `isGrouped` of the lane. */
export type ClaimRules = Pick<LaneTraits, 'merges' | 'isGrouped'>;

type Open<T> = {
  readonly members: [T, ...T[]];
  /** Keys of all members; built when a second envelope may join. */
  keys: Set<string> | null;
};

/**
 * Builds one claim: decides which envelopes may share a request to Klaviyo, and how many fit.
 *
 * An item of a claim is one envelope, or several profiles of one person that merge. Two items never share a key. An
 * envelope that failed often shares its request with few others, and finally with none, so that one bad record is
 * found and hurts only itself. lua/claim.lua follows the same rules.
 */
export class ClaimBuilder<T extends Candidate> {
  readonly #bounds: ClaimBounds;
  readonly #merges: boolean;
  readonly #isGrouped: boolean;
  readonly #items: Open<T>[] = [];
  readonly #byKey = new Map<string, Open<T>>();
  /** The keys of candidates of other groups: what comes after these must not overtake them. */
  readonly #keysOfOtherGroups = new Set<string>();
  #group: string | null = null;
  #maxCount: number;
  #bytes = 0;
  #closed = false;

  constructor(bounds: ClaimBounds, { merges, isGrouped }: ClaimRules) {
    this.#bounds = bounds;
    this.#merges = merges;
    this.#isGrouped = isGrouped === true;
    this.#maxCount = bounds.maxCount;
  }

  /** True after a candidate did not fit: later ones must not overtake it. */
  get closed(): boolean {
    return this.#closed;
  }

  get items(): readonly (readonly [T, ...T[]])[] {
    return this.#items.map((item) => item.members);
  }

  /**
   * Returns `added`, `full`, `other-group` if the candidate stays for a later claim, or the key that must
   * be unlocked before the candidate can be claimed.
   */
  add(candidate: T): 'added' | 'full' | 'other-group' | { readonly waitsFor: string } {
    if (this.#isGrouped && this.#isOfOtherGroup(candidate)) return 'other-group';
    const firstKey = candidate.keys.find((key) => this.#byKey.has(key));
    if (firstKey === undefined) return this.#open(candidate);
    const item = this.#byKey.get(firstKey);
    if (item === undefined || !this.#canJoin(item, candidate)) return { waitsFor: firstKey };
    if (!this.#fits(candidate)) return 'full';
    item.members.push(candidate);
    this.#index(item, candidate);
    return 'added';
  }

  #isOfOtherGroup({ payload, keys }: T): boolean {
    const group = readGroup(payload);
    this.#group ??= group;
    const isOther = group !== this.#group || keys.some((key) => this.#keysOfOtherGroups.has(key));
    if (isOther) for (const key of keys) this.#keysOfOtherGroups.add(key);
    return isOther;
  }

  #open(candidate: T): 'added' | 'full' {
    this.#maxCount = Math.min(this.#maxCount, this.#findMaxItems(candidate));
    if (this.#items.length >= this.#maxCount) this.#closed = true;
    if (this.#closed || !this.#fits(candidate)) return 'full';
    const item: Open<T> = { members: [candidate], keys: null };
    this.#items.push(item);
    this.#index(item, candidate);
    return 'added';
  }

  #index(item: Open<T>, candidate: T): void {
    this.#bytes += payloadBytes(candidate);
    for (const key of candidate.keys) {
      this.#byKey.set(key, item);
      item.keys?.add(key);
    }
  }

  #fits(candidate: T): boolean {
    if (this.#items.length > 0 && this.#bytes + payloadBytes(candidate) > this.#bounds.maxBytes) {
      this.#closed = true;
    }
    return !this.#closed;
  }

  #canJoin(item: Open<T>, candidate: T): boolean {
    if (!this.#merges || candidate.alone || item.members[0].alone) return false;
    const isElsewhere = candidate.keys.some((key) => {
      const holder = this.#byKey.get(key);
      return holder !== undefined && holder !== item;
    });
    if (isElsewhere) return false;
    item.keys ??= new Set(item.members[0].keys);
    return isMergeable(item.keys, candidate.keys);
  }

  /**
   * Returns how many items may share a request with an envelope that failed this often, itself included. Before the
   * isolation begins, the result is at least the bound of the claim.
   */
  #findMaxItems({ attempts, alone }: Candidate): number {
    if (alone && attempts > 0) return 1;
    const excess = attempts - this.#bounds.isolateAfterAttempts;
    return Math.max(1, Math.floor(this.#bounds.maxCount / 2 ** (excess + 1)));
  }
}

/** Bytes that an envelope adds to a request body: its payload and a separator. */
export function payloadBytes({ payload }: { readonly payload: Uint8Array }): number {
  return payload.byteLength + 1;
}

/** The first character of a key names its kind: e-mail, phone or external id. */
const kindOf = (key: string): string => key.charAt(0);

/**
 * Returns true if two profiles can be merged: they share an identifier and contradict each other in none.
 * `{email: a, id: 1}` and `{email: b, id: 1}` contradict each other: merged, an address would be lost, so they are
 * sent one after the other.
 */
export function isMergeable(keys: ReadonlySet<string>, others: readonly string[]): boolean {
  const kinds = new Set([...keys].map(kindOf));
  return (
    others.some((key) => keys.has(key)) &&
    others.every((key) => keys.has(key) || !kinds.has(kindOf(key)))
  );
}
