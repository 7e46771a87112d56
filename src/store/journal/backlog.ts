import { decodeBlock, type Entry } from './block.js';
import { fromStoredMarks, type Mark } from './marks.js';
import { freshKind, redrivenKind, type BlockKey, type Tables } from './tables.js';

/** A block whose envelopes are in memory, and what became of each. Replaced marks, never changed ones. */
export type Block = {
  readonly key: BlockKey;
  readonly isRedriven: boolean;
  marks: readonly Mark[];
};

export type Loaded = { readonly block: Block; readonly entries: readonly Entry[] };

type Redriven = {
  readonly key: BlockKey;
  readonly seqs: ReadonlySet<number>;
  readonly acceptedAt: number;
  readonly bytes: number;
};

type Span = { readonly count: number; readonly bytes: number };

/** The unsettled envelopes of one lane that are on disk alone: redriven ones first, then fresh ones, in order. */
export class Backlog {
  readonly #tables: Tables;
  readonly #lane: number;
  #redriven: Redriven[] = [];
  #fresh = { count: 0, bytes: 0 };
  #passed = 0;
  /** The acceptance of the first fresh envelope on disk alone; null where it must be looked up. */
  #oldestFresh: number | null = null;

  constructor(tables: Tables, lane: number) {
    this.#tables = tables;
    this.#lane = lane;
  }

  /** Number of the last fresh block that was brought in. */
  get passed(): number {
    return this.#passed;
  }

  get count(): number {
    return this.#fresh.count + this.redrivenCount;
  }

  get redrivenCount(): number {
    return this.#redriven.reduce((sum, { seqs }) => sum + seqs.size, 0);
  }

  get bytes(): number {
    return this.#fresh.bytes + this.#redriven.reduce((sum, { bytes }) => sum + bytes, 0);
  }

  /** Fresh envelopes an earlier process left beyond what is in memory. */
  begin(fresh: Span): void {
    this.#fresh = { ...fresh };
  }

  /** The block is in memory as well. */
  pass({ key }: Block): void {
    this.#passed = key[2];
    this.#oldestFresh = null;
  }

  /** It stays on disk alone for now. */
  add({ key, isRedriven }: Block, entries: readonly Entry[]): void {
    const span = toSpan(entries);
    const [first] = entries;
    if (first === undefined) return;
    if (isRedriven) {
      const seqs = new Set(entries.map(({ seq }) => seq));
      this.#redriven.push({ key, seqs, acceptedAt: first.acceptedAt, bytes: span.bytes });
      return;
    }
    this.#fresh = { count: this.#fresh.count + span.count, bytes: this.#fresh.bytes + span.bytes };
  }

  /** Whether an envelope of that number is on disk alone. */
  has(seq: number, nextSeq: number): boolean {
    const isFresh =
      this.#fresh.count > 0 && seq < nextSeq && seq >= (this.#nextFreshSeq() ?? Infinity);
    return isFresh || this.#redriven.some(({ seqs }) => seqs.has(seq));
  }

  oldestAcceptedAt(): number | null {
    const [redriven] = this.#redriven;
    const fresh = this.#fresh.count === 0 ? null : (this.#oldestFresh ??= this.#peekFresh());
    if (redriven === undefined || fresh === null) return redriven?.acceptedAt ?? fresh;
    return Math.min(redriven.acceptedAt, fresh);
  }

  /** The next block, out of the backlog. Null where there is none. Throws DamagedError. */
  next(): Loaded | null {
    const redriven = this.#redriven.shift();
    return redriven === undefined ? this.nextFresh() : this.read(redriven.key);
  }

  nextFresh(): Loaded | null {
    if (this.#fresh.count === 0) return null;
    const key = this.#nextFreshKey();
    if (key === null)
      throw new Error(`lane ${this.#lane} counts envelopes on disk that are not there`);
    const loaded = this.read(key);
    const { count, bytes } = toSpan(
      loaded.entries.filter((_, index) => loaded.block.marks[index] !== 'gone'),
    );
    this.#fresh = { count: this.#fresh.count - count, bytes: this.#fresh.bytes - bytes };
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
    const marks = stored === undefined ? toFreshMarks(entries.length) : fromStoredMarks(stored);
    return { block: { key, isRedriven: kind === redrivenKind, marks }, entries };
  }

  #nextFreshKey(): BlockKey | null {
    const range = {
      start: [this.#lane, freshKind, this.#passed + 1],
      end: [this.#lane, freshKind + 1],
      limit: 1,
    };
    for (const key of this.#tables.blocks.getKeys(range)) return key;
    return null;
  }

  /** A fresh block is keyed by the number of its first envelope. */
  #nextFreshSeq(): number | null {
    return this.#nextFreshKey()?.[2] ?? null;
  }

  #peekFresh(): number | null {
    const key = this.#nextFreshKey();
    return key === null ? null : (this.read(key).entries[0]?.acceptedAt ?? null);
  }
}

export const toFreshMarks = (count: number): readonly Mark[] => Array<Mark>(count).fill(null);

/** A separator is counted with each, as everywhere. */
export function toSpan(entries: readonly Entry[]): Span {
  return {
    count: entries.length,
    bytes: entries.reduce((sum, { payload }) => sum + payload.byteLength + 1, 0),
  };
}
