import type { Clock } from '../../clock.js';
import { readInfo } from '../../redis/durability.js';
import type { RedisConnection } from '../../redis/connection.js';
import type { ReplicatedWrites } from '../../redis/replicated-writes.js';
import { reopenAt } from '../admission.js';

export type IntakeGateOptions = {
  readonly connection: Pick<RedisConnection, 'call'>;
  readonly clock: Pick<Clock, 'monotonic'>;
  /** Null if a 202 does not wait for replicas. */
  readonly replicated: ReplicatedWrites | null;
};

/** After this long without another rejected write the memory counts as free again, ms. */
const fullEndsMs = 10_000;

/**
 * The reason why nothing is accepted although the server works: its memory is full, or replicas are missing. The
 * relay sends what is stored meanwhile, which frees memory.
 */
export class IntakeGate {
  readonly #options: IntakeGateOptions;
  /** The error reply to the last write that was rejected for lack of memory, and its time, monotonic ms. */
  #full: { readonly why: string; readonly at: number } | null = null;

  constructor(options: IntakeGateOptions) {
    this.#options = options;
  }

  /** Why nothing is accepted; null while the gate is open. */
  get why(): string | null {
    return this.#full?.why ?? this.#options.replicated?.outage() ?? null;
  }

  recordFull(why: string): void {
    this.#full = { why, at: this.#options.clock.monotonic() };
  }

  /**
   * Opens the gate if memory is free again. A server at its bound accepts one write and rejects the next, so the
   * gate opens only when a part of the memory is free.
   */
  async recheck(): Promise<void> {
    void this.#options.replicated?.recheck();
    const full = this.#full;
    if (full === null) return;
    const isOver =
      this.#options.clock.monotonic() - full.at >= fullEndsMs || (await this.#hasRoom());
    // During the await Redis may have refused another write, which replaces `#full`.
    if (isOver && this.#full === full) this.#full = null;
  }

  async #hasRoom(): Promise<boolean> {
    const info = await readInfo(this.#options.connection, 'memory');
    const [used, most] = [Number(info.get('used_memory')), Number(info.get('maxmemory'))];
    return most === 0 || used <= most * reopenAt;
  }
}
