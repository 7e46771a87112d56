import type { Clock } from '../../clock.js';
import { RetentionTime } from '../retention-time.js';
import { DedupeWindow, type DedupeBounds } from '../dedupe.js';
import { DamagedError, decodeBlock, encodeBlock } from './block.js';
import type { Tables } from './tables.js';
import type { Totals } from './totals.js';
import { put, remove, type Write } from './write.js';

/** Events whose keys become known, or free again. */
export type DedupeEntry = {
  readonly seq: number;
  readonly keys: readonly string[];
};

const kinds = { remember: 1, forget: 2 } as const;
const nothing = new Uint8Array();
/** Entries are dropped a few with each write, so that no write pays for many. */
const dropsPerWrite = 8;

/**
 * The dedupe window's history on disk: one entry a group of accepted events, in order, so that a
 * restart can play it back. The window itself is in memory. The oldest entries go once none of
 * their keys is known any more.
 */
export class DedupeLog {
  readonly window: DedupeWindow;
  readonly #tables: Tables;
  readonly #clock: Clock;
  readonly #time: RetentionTime;

  constructor(tables: Tables, { clock, bounds }: { clock: Clock; bounds: DedupeBounds }) {
    this.#tables = tables;
    this.#clock = clock;
    this.#time = new RetentionTime(clock, newestAt(tables), bounds.maxAgeMs / 2);
    this.window = new DedupeWindow(bounds, clock);
  }

  /** Plays the history back. Throws DamagedError. */
  load(): void {
    const [now, monotonic] = [this.#time.now(), this.#clock.monotonic()];
    for (const { key: note, value } of this.#tables.seen.getRange()) {
      const kind = value[0];
      for (const { seq, acceptedAt, keys } of decodeBlock(
        value.subarray(1),
        `entry ${note} of seen`,
      )) {
        if (kind === kinds.forget) this.window.forget(keys, seq);
        else if (kind === kinds.remember) {
          const at = monotonic - Math.max(0, now - acceptedAt);
          this.window.remember(keys, seq, { at, note });
        } else throw new DamagedError(`entry ${note} of seen is of no known kind`);
      }
    }
  }

  /** Makes the keys known at once; gives the writes, and the number to undo it by. */
  remember(events: readonly DedupeEntry[], draft: Totals): readonly Write[] {
    return events.length === 0 ? [] : this.#write('remember', events, draft);
  }

  forget(events: readonly DedupeEntry[], draft: Totals): readonly Write[] {
    return events.length === 0 ? [] : this.#write('forget', events, draft);
  }

  #write(
    kind: keyof typeof kinds,
    events: readonly DedupeEntry[],
    draft: Totals,
  ): readonly Write[] {
    const { seen } = this.#tables;
    const number = draft.nextSeen++;
    const acceptedAt = Math.floor(this.#time.now());
    const entries = events.map(({ seq, keys }) => ({ seq, keys, acceptedAt, payload: nothing }));
    const block = encodeBlock(entries);
    const bytes = Buffer.concat([Buffer.from([kinds[kind]]), block]);
    return [put(seen, number, bytes), ...this.#dropWrites(number)];
  }

  #dropWrites(below: number): readonly Write[] {
    const { seen } = this.#tables;
    const oldest = this.window.oldestNote() ?? below;
    const range = { end: Math.min(oldest, below), limit: dropsPerWrite };
    return [...seen.getKeys(range)].map((number) => remove(seen, number));
  }
}

/** When the newest event was remembered; null where none is. */
function newestAt({ seen }: Tables): number | null {
  for (const { key, value } of seen.getRange({ reverse: true })) {
    if (value[0] !== kinds.remember) continue;
    const [first] = decodeBlock(value.subarray(1), `entry ${key} of seen`);
    if (first !== undefined) return first.acceptedAt;
  }
  return null;
}
