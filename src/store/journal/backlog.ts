import { decodeBlock, type Entry } from './block.js';
import { fromStoredStates, type EnvelopeState } from './marks.js';
import { freshKind, redrivenKind, type BlockKey, type Tables } from './tables.js';

/** A block whose envelopes are in memory, and what became of each. Its marks are replaced, never changed. */
export type Block = {
  readonly key: BlockKey;
  readonly isRedriven: boolean;
  marks: readonly EnvelopeState[];
};

export type Loaded = { readonly block: Block; readonly entries: readonly Entry[] };

type Accepted = Pick<Entry, 'seq' | 'acceptedAt'>;

export type Span = { readonly count: number; readonly bytes: number };

/** The fresh envelopes of one lane that are on disk alone, in order: all that lie behind those in memory. */
export class Backlog {
  readonly #tables: Tables;
  readonly #lane: number;
  #span: Span = { count: 0, bytes: 0 };
  /** Number of the last fresh block that was brought in. */
  #passed = 0;
  /** Its first envelope; null where it must be looked up. */
  #oldest: Accepted | null = null;

  constructor(tables: Tables, lane: number) {
    this.#tables = tables;
    this.#lane = lane;
  }

  get passed(): number {
    return this.#passed;
  }

  get count(): number {
    return this.#span.count;
  }

  get bytes(): number {
    return this.#span.bytes;
  }

  /** Number of its first envelope; Infinity where there is none. */
  firstSeq(): number {
    // A fresh block is named by the number of its first envelope.
    return this.#nextKey()?.[2] ?? Infinity;
  }

  /** These stay on disk alone for now. */
  add({ count, bytes }: Span): void {
    this.#span = { count: this.#span.count + count, bytes: this.#span.bytes + bytes };
  }

  /** The block is in memory as well. */
  pass({ key }: Block): void {
    this.#passed = key[2];
    this.#oldest = null;
  }

  /**
   * Whether an envelope of that number is on disk alone. Not every number is one of an envelope that
   * waits: some were dead letters from the start. Throws DamagedError.
   */
  has(seq: number): boolean {
    const range = {
      start: [this.#lane, freshKind, seq],
      end: [this.#lane, freshKind, this.#passed],
      reverse: true,
      limit: 1,
    };
    for (const key of this.#tables.blocks.getKeys(range)) {
      return this.read(key).entries.some((entry) => entry.seq === seq);
    }
    return false;
  }

  /** Its first envelope; null where there is none. */
  oldest(): Accepted | null {
    if (this.#span.count === 0) return null;
    return (this.#oldest ??= this.#peek());
  }

  /** The next block, out of the backlog. Null where there is none. Throws DamagedError. */
  next(): Loaded | null {
    if (this.#span.count === 0) return null;
    const key = this.#nextKey();
    if (key === null) throw new Error(`lane ${this.#lane} counts envelopes that are not there`);
    const loaded = this.read(key);
    const { marks } = loaded.block;
    const { count, bytes } = toSpan(loaded.entries.filter((_, index) => marks[index] !== 'gone'));
    this.add({ count: -count, bytes: -bytes });
    this.pass(loaded.block);
    return loaded;
  }

  /** Throws DamagedError. */
  read(key: BlockKey): Loaded {
    const [lane, kind, number] = key;
    const bytes = this.#tables.blocks.getBinary([lane, kind, number]);
    if (bytes === undefined) throw new Error(`block ${key.join('/')} is not there`);
    const entries = decodeBlock(bytes, `block ${key.join('/')}`);
    const stored = this.#tables.marks.get([lane, kind, number]);
    const marks = stored === undefined ? toFreshMarks(entries.length) : fromStoredStates(stored);
    return { block: { key, isRedriven: kind === redrivenKind, marks }, entries };
  }

  #nextKey(): BlockKey | null {
    const start = [this.#lane, freshKind, this.#passed + 1];
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

export const toFreshMarks = (count: number): readonly EnvelopeState[] =>
  Array<EnvelopeState>(count).fill(null);

/** A separator is counted with each, as everywhere. */
export function toSpan(entries: readonly Pick<Entry, 'payload'>[]): Span {
  return {
    count: entries.length,
    bytes: entries.reduce((sum, { payload }) => sum + payload.byteLength + 1, 0),
  };
}
