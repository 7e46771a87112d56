import type { Reason } from '../../model/outcome.js';
import type { Block } from './backlog.js';
import type { JournalEnvelope } from './lane.js';
import { toStoredStates, type EnvelopeState, type RetryState } from './envelope-state.js';
import type { Tables } from './tables.js';
import { put, remove, type Write } from './write.js';

/**
 * The new envelope states of a group's settlements. The blocks keep their old states until `apply`, which runs once
 * the group is on disk.
 */
export class StateTable {
  readonly #now: number;
  readonly #states = new Map<Block, EnvelopeState[]>();
  /** The block of the latest `set`; neighbours are mostly in one block. */
  #latest: Block | null = null;
  #latestStates: EnvelopeState[] = [];
  /**
   * Retry states by reason and name: envelopes with equal retry states share one object, so that it is stored once.
   */
  readonly #retryStates = new Map<Reason | null, Map<string, RetryState>>();

  /** `now`: epoch ms. */
  constructor(now: number) {
    this.#now = now;
  }

  /** Returns true if the state of one of these envelopes was changed here before. */
  hasChanged(held: readonly JournalEnvelope[]): boolean {
    if (this.#states.size === 0) return false;
    return held.some(({ block, index }) => {
      const states = this.#states.get(block);
      return states !== undefined && states[index] !== block.states[index];
    });
  }

  set({ block, index }: JournalEnvelope, state: EnvelopeState): void {
    if (block !== this.#latest) {
      this.#latest = block;
      this.#latestStates = this.#states.get(block) ?? [...block.states];
      this.#states.set(block, this.#latestStates);
    }
    this.#latestStates[index] = state;
  }

  setRetry(held: JournalEnvelope, delayMs: number): void {
    this.set(held, this.#shareRetryState(held, delayMs));
  }

  writes({ blocks, states: states }: Tables): readonly Write[] {
    return [...this.#states].flatMap(([block, next]): readonly Write[] => {
      const [lane, kind, number] = block.key;
      if (next.some((state) => state !== 'settled')) {
        return [put(states, [lane, kind, number], toStoredStates(next))];
      }
      return [remove(blocks, [lane, kind, number]), remove(states, [lane, kind, number])];
    });
  }

  apply(): void {
    for (const [block, states] of this.#states) block.states = states;
  }

  #shareRetryState(
    { attempts, alone, lastTry, ref }: JournalEnvelope,
    delayMs: number,
  ): RetryState {
    const reason = lastTry?.reason ?? null;
    const alike = this.#retryStates.get(reason) ?? new Map<string, RetryState>();
    this.#retryStates.set(reason, alike);
    const name = [attempts, alone, delayMs, ref, lastTry?.deliveryId].join('/');
    const known = alike.get(name);
    if (known !== undefined) return known;
    const retryState = { attempts, alone, dueAt: this.#now + delayMs, delayMs, lastTry, ref };
    alike.set(name, retryState);
    return retryState;
  }
}
