import type { Amount } from '../admission.js';
import { decodeBlock, type Entry } from './block.js';
import { fromStoredStates, type EnvelopeState } from './envelope-state.js';
import { freshKind, redrivenKind, type BlockKey, type Tables } from './tables.js';

/**
 * A block that is in memory, with the states of its envelopes. `states` is replaced as a whole and never changed in
 * place.
 */
export type Block = {
  readonly key: BlockKey;
  readonly isRedriven: boolean;
  states: readonly EnvelopeState[];
};

export type LoadedBlock = { readonly block: Block; readonly entries: readonly Entry[] };

type Accepted = Pick<Entry, 'seq' | 'acceptedAt'>;

/**
 * The fresh envelopes of one lane that are on disk only: all blocks after the last one that was loaded into memory.
 */
export class Backlog {
  readonly #tables: Tables;
  readonly #lane: number;
  #amount: Amount = { count: 0, bytes: 0 };
  /** Number of the last fresh block that was loaded. */
  #lastLoaded = 0;
  /** The first envelope of the backlog; null if it must be looked up. */
  #oldest: Accepted | null = null;

  constructor(tables: Tables, lane: number) {
    this.#tables = tables;
    this.#lane = lane;
  }

  get lastLoaded(): number {
    return this.#lastLoaded;
  }

  get count(): number {
    return this.#amount.count;
  }

  get bytes(): number {
    return this.#amount.bytes;
  }

  /** Returns the number of the first envelope; Infinity if there is none. */
  firstSeq(): number {
    // The number of a fresh block is that of its first envelope.
    return this.#nextKey()?.[2] ?? Infinity;
  }

  /** Counts envelopes that stay on disk only. */
  add({ count, bytes }: Amount): void {
    this.#amount = { count: this.#amount.count + count, bytes: this.#amount.bytes + bytes };
  }

  /** Counts envelopes no longer that were removed from disk. */
  remove({ count, bytes }: Amount): void {
    this.add({ count: -count, bytes: -bytes });
    this.#oldest = null;
  }

  /** Returns the key of the block that has the envelope on disk only; null if there is none. */
  findBlock(seq: number): BlockKey | null {
    const range = {
      start: [this.#lane, freshKind, seq],
      end: [this.#lane, freshKind, this.#lastLoaded],
      reverse: true,
      limit: 1,
    };
    for (const key of this.#tables.blocks.getKeys(range)) return key;
    return null;
  }

  /** Records that this block is in memory. */
  setLoaded({ key }: Block): void {
    this.#lastLoaded = key[2];
    this.#oldest = null;
  }

  /**
   * Returns true if the envelope with this number is on disk only. Some numbers are missing: envelopes that became
   * dead letters when they were accepted. Throws DamagedError.
   */
  has(seq: number): boolean {
    const key = this.findBlock(seq);
    if (key === null) return false;
    return this.read(key).entries.some((entry) => entry.seq === seq && !isErased(entry));
  }

  /** Returns the first envelope; null if there is none. */
  oldest(): Accepted | null {
    if (this.#amount.count === 0) return null;
    return (this.#oldest ??= this.#peek());
  }

  /** Removes the next block from the backlog and returns it; null if there is none. Throws DamagedError. */
  next(): LoadedBlock | null {
    if (this.#amount.count === 0) return null;
    const key = this.#nextKey();
    if (key === null) throw new Error(`lane ${this.#lane} counts envelopes that are not there`);
    const loaded = this.read(key);
    const { states: states } = loaded.block;
    const { count, bytes } = measureEntries(
      loaded.entries.filter((_, index) => states[index] !== 'settled'),
    );
    this.add({ count: -count, bytes: -bytes });
    this.setLoaded(loaded.block);
    return loaded;
  }

  /** Throws DamagedError. */
  read(key: BlockKey): LoadedBlock {
    const [lane, kind, number] = key;
    const bytes = this.#tables.blocks.getBinary([lane, kind, number]);
    if (bytes === undefined) throw new Error(`block ${key.join('/')} is not there`);
    const entries = decodeBlock(bytes, `block ${key.join('/')}`);
    const stored = this.#tables.states.get([lane, kind, number]);
    const known = stored === undefined ? createStates(entries.length) : fromStoredStates(stored);
    const states = entries.some(isErased)
      ? known.map((state, index) => (isErased(entries[index]) ? 'settled' : state))
      : known;
    return { block: { key, isRedriven: kind === redrivenKind, states }, entries };
  }

  #nextKey(): BlockKey | null {
    const start = [this.#lane, freshKind, this.#lastLoaded + 1];
    const range = { start, end: [this.#lane, freshKind + 1], limit: 1 };
    for (const key of this.#tables.blocks.getKeys(range)) return key;
    return null;
  }

  #peek(): Accepted | null {
    const key = this.#nextKey();
    const [first] = key === null ? [] : this.read(key).entries;
    return first === undefined ? null : { seq: first.seq, acceptedAt: first.acceptedAt };
  }
}

/** An erased envelope leaves an entry without content in its block, and counts as settled. */
export const toErasedEntry = ({ seq, acceptedAt }: Entry): Entry => ({
  seq,
  acceptedAt,
  keys: [],
  payload: new Uint8Array(0),
});

/** No payload is empty. */
const isErased = (entry: Entry | undefined): boolean => entry?.payload.byteLength === 0;

export const createStates = (count: number): readonly EnvelopeState[] =>
  Array<EnvelopeState>(count).fill(null);

/** Sums up entries. Each counts with one byte for the separator in the request body. */
export function measureEntries(entries: readonly Pick<Entry, 'payload'>[]): Amount {
  return {
    count: entries.length,
    bytes: entries.reduce((sum, { payload }) => sum + payload.byteLength + 1, 0),
  };
}
