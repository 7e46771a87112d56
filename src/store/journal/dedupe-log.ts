import type { Clock } from '../../clock.js';
import { RetentionTime } from '../retention-time.js';
import { DedupeWindow, type DedupeBounds } from '../dedupe.js';
import { DamagedError, decodeBlock, encodeBlock } from './block.js';
import type { Tables } from './tables.js';
import type { Totals } from './totals.js';
import { put, remove, type Write } from './write.js';

/** An event whose keys are added to or removed from the dedupe window. */
export type DedupeEntry = {
  readonly seq: number;
  readonly keys: readonly string[];
};

const entryKinds = { remember: 1, forget: 2 } as const;
const nothing = new Uint8Array();
/** Old entries deleted with each write, at most, so that no write deletes many. */
const dropsPerWrite = 8;

/**
 * The dedupe window on disk: one entry for each group of accepted or dead-lettered events, in order. A restart
 * replays the entries to fill the window, which is in memory. The oldest entries are deleted once none of their
 * keys is valid.
 */
export class DedupeLog {
  readonly window: DedupeWindow;
  readonly #tables: Tables;
  readonly #clock: Clock;
  readonly #time: RetentionTime;

  constructor(tables: Tables, { clock, bounds }: { clock: Clock; bounds: DedupeBounds }) {
    this.#tables = tables;
    this.#clock = clock;
    this.#time = new RetentionTime(clock, findNewestDedupe(tables), bounds.maxAgeMs / 2);
    this.window = new DedupeWindow(bounds, clock);
  }

  /** Replays the entries. Throws DamagedError. */
  load(): void {
    const [now, monotonic] = [this.#time.now(), this.#clock.monotonic()];
    for (const { key: sequence, value } of this.#tables.dedupe.getRange()) {
      const kind = value[0];
      for (const { seq, acceptedAt, keys } of decodeBlock(
        value.subarray(1),
        `entry ${sequence} of seen`,
      )) {
        if (kind === entryKinds.forget) this.window.remove(keys, seq);
        else if (kind === entryKinds.remember) {
          const at = monotonic - Math.max(0, now - acceptedAt);
          this.window.add(keys, seq, { at, sequence });
        } else throw new DamagedError(`entry ${sequence} of seen is of no known kind`);
      }
    }
  }

  /** Returns the writes that add keys. */
  add(events: readonly DedupeEntry[], nextTotals: Totals): readonly Write[] {
    return events.length === 0 ? [] : this.#write('remember', events, nextTotals);
  }

  remove(events: readonly DedupeEntry[], nextTotals: Totals): readonly Write[] {
    return events.length === 0 ? [] : this.#write('forget', events, nextTotals);
  }

  #write(
    kind: keyof typeof entryKinds,
    events: readonly DedupeEntry[],
    nextTotals: Totals,
  ): readonly Write[] {
    const { dedupe } = this.#tables;
    const number = nextTotals.nextSeen++;
    const acceptedAt = Math.floor(this.#time.now());
    const entries = events.map(({ seq, keys }) => ({ seq, keys, acceptedAt, payload: nothing }));
    const block = encodeBlock(entries);
    const bytes = Buffer.concat([Buffer.from([entryKinds[kind]]), block]);
    return [put(dedupe, number, bytes), ...this.#dropWrites(number)];
  }

  #dropWrites(below: number): readonly Write[] {
    const { dedupe } = this.#tables;
    const oldest = this.window.oldestSequence() ?? below;
    const range = { end: Math.min(oldest, below), limit: dropsPerWrite };
    return [...dedupe.getKeys(range)].map((number) => remove(dedupe, number));
  }
}

/** Time of the newest added event; null if there is none. */
function findNewestDedupe({ dedupe }: Tables): number | null {
  for (const { key, value } of dedupe.getRange({ reverse: true })) {
    if (value[0] !== entryKinds.remember) continue;
    const [first] = decodeBlock(value.subarray(1), `entry ${key} of seen`);
    if (first !== undefined) return first.acceptedAt;
  }
  return null;
}
