import type { ClaimBounds, Envelope } from '../model/envelope.js';

/** What a pick looks at. */
export type Candidate = Envelope & { readonly alone: boolean };

type Open<T> = {
  readonly members: [T, ...T[]];
  /** Of all members; made when a second one asks. */
  keys: Set<string> | null;
};

/** One claim while it is being put together: which candidates may share a request, and how many fit. */
export class ClaimBuilder<T extends Candidate> {
  readonly #bounds: ClaimBounds;
  readonly #merges: boolean;
  readonly #items: Open<T>[] = [];
  readonly #byKey = new Map<string, Open<T>>();
  #maxCount: number;
  #bytes = 0;
  #closed = false;

  constructor(bounds: ClaimBounds, merges: boolean) {
    this.#bounds = bounds;
    this.#merges = merges;
    this.#maxCount = bounds.maxCount;
  }

  /** True once a candidate did not fit: what comes after it must not overtake it. */
  get closed(): boolean {
    return this.#closed;
  }

  get items(): readonly (readonly [T, ...T[]])[] {
    return this.#items.map((item) => item.members);
  }

  /** `taken`, `full`, or the key that must be free before the candidate can leave. */
  add(candidate: T): 'taken' | 'full' | { readonly waitsFor: string } {
    const firstKey = candidate.keys.find((key) => this.#byKey.has(key));
    if (firstKey === undefined) return this.#open(candidate);
    const item = this.#byKey.get(firstKey);
    if (item === undefined || !this.#canJoin(item, candidate)) return { waitsFor: firstKey };
    if (!this.#fits(candidate)) return 'full';
    item.members.push(candidate);
    this.#index(item, candidate);
    return 'taken';
  }

  #open(candidate: T): 'taken' | 'full' {
    this.#maxCount = Math.min(this.#maxCount, this.#company(candidate));
    if (this.#items.length >= this.#maxCount) this.#closed = this.#items.length > 0;
    if (this.#closed || !this.#fits(candidate)) return 'full';
    const item: Open<T> = { members: [candidate], keys: null };
    this.#items.push(item);
    this.#index(item, candidate);
    return 'taken';
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

  /** How many may travel with an envelope that failed so often, itself included. */
  #company({ attempts, alone }: Candidate): number {
    if (alone && attempts > 0) return 1;
    const excess = attempts - this.#bounds.isolateAfterAttempts;
    return excess < 0
      ? this.#bounds.maxCount
      : Math.max(1, Math.floor(this.#bounds.maxCount / 2 ** (excess + 1)));
  }
}

/** Bytes an envelope adds to a body: its payload and a separator. */
export function payloadBytes({ payload }: { readonly payload: Uint8Array }): number {
  return payload.byteLength + 1;
}

/** The first character of a key names its kind: e-mail, phone or external id. */
const kindOf = (key: string): string => key.charAt(0);

/**
 * Whether two profiles are one and can be merged: they share an identifier and contradict each
 * other in none. `{email: a, id: 1}` and `{email: b, id: 1}` share and contradict: merged, an
 * address would be lost, so they travel one after the other.
 */
export function isMergeable(keys: ReadonlySet<string>, others: readonly string[]): boolean {
  const kinds = new Set([...keys].map(kindOf));
  return (
    others.some((key) => keys.has(key)) &&
    others.every((key) => keys.has(key) || !kinds.has(kindOf(key)))
  );
}
