import type { Reason } from '../../model/outcome.js';
import type { Block } from './backlog.js';
import type { JournalEnvelope } from './lane.js';
import { toStoredStates, type EnvelopeState, type RetryState } from './marks.js';
import type { Tables } from './tables.js';
import { put, remove, type Write } from './write.js';

/** New marks of the blocks that a group's settlements touch; the old ones stand until it is on disk. */
export class StateTable {
  readonly #now: number;
  readonly #marks = new Map<Block, EnvelopeState[]>();
  /** Neighbours mostly lie in one block. */
  #latest: Block | null = null;
  #latestMarks: EnvelopeState[] = [];
  /** One for all envelopes of a block that fared alike: they are written once. */
  readonly #trials = new Map<Reason | null, Map<string, RetryState>>();

  /** `now`: epoch ms. */
  constructor(now: number) {
    this.#now = now;
  }

  /** Whether any of these was marked here before. */
  hasAny(held: readonly JournalEnvelope[]): boolean {
    if (this.#marks.size === 0) return false;
    return held.some(({ block, index }) => {
      const marks = this.#marks.get(block);
      return marks !== undefined && marks[index] !== block.marks[index];
    });
  }

  mark({ block, index }: JournalEnvelope, mark: EnvelopeState): void {
    if (block !== this.#latest) {
      this.#latest = block;
      this.#latestMarks = this.#marks.get(block) ?? [...block.marks];
      this.#marks.set(block, this.#latestMarks);
    }
    this.#latestMarks[index] = mark;
  }

  try(held: JournalEnvelope, delayMs: number): void {
    this.mark(held, this.#toTrial(held, delayMs));
  }

  writes({ blocks, marks }: Tables): readonly Write[] {
    return [...this.#marks].flatMap(([block, next]): readonly Write[] => {
      const [lane, kind, number] = block.key;
      if (next.some((mark) => mark !== 'gone')) {
        return [put(marks, [lane, kind, number], toStoredStates(next))];
      }
      return [remove(blocks, [lane, kind, number]), remove(marks, [lane, kind, number])];
    });
  }

  apply(): void {
    for (const [block, marks] of this.#marks) block.marks = marks;
  }

  #toTrial({ attempts, alone, lastTry, ref }: JournalEnvelope, delayMs: number): RetryState {
    const reason = lastTry?.reason ?? null;
    const alike = this.#trials.get(reason) ?? new Map<string, RetryState>();
    this.#trials.set(reason, alike);
    const name = [attempts, alone, delayMs, ref, lastTry?.deliveryId].join('/');
    const known = alike.get(name);
    if (known !== undefined) return known;
    const trial = { attempts, alone, dueAt: this.#now + delayMs, delayMs, lastTry, ref };
    alike.set(name, trial);
    return trial;
  }
}
