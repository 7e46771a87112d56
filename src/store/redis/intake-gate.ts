import type { Clock } from '../../clock.js';
import { readInfo } from '../../redis/durability.js';
import type { RedisConnection } from '../../redis/connection.js';
import type { ReplicatedWrites } from '../../redis/replicated-writes.js';
import { reopenAt } from '../admission.js';

export type IntakeGateOptions = {
  readonly connection: Pick<RedisConnection, 'call'>;
  readonly clock: Pick<Clock, 'monotonic'>;
  /** Null where a 202 does not wait for replicas. */
  readonly replicated: ReplicatedWrites | null;
};

/** After so long without another backpressure the memory counts as free again, however full it is. */
const fullEndsMs = 10_000;

/**
 * Why nothing new is taken though the server works: its memory is full, or replicas are missing. What
 * is held is sent meanwhile, which makes room.
 */
export class IntakeGate {
  readonly #options: IntakeGateOptions;
  /** The server's words when it refused a write for lack of memory, and when it last did, monotonic ms. */
  #full: { readonly why: string; readonly at: number } | null = null;

  constructor(options: IntakeGateOptions) {
    this.#options = options;
  }

  /** Null while what is new is taken. */
  get why(): string | null {
    return this.#full?.why ?? this.#options.replicated?.trouble() ?? null;
  }

  noteFull(why: string): void {
    this.#full = { why, at: this.#options.clock.monotonic() };
  }

  /**
   * Opens once there is room again. A server at its bound takes one write and refuses the next: it is
   * used again when some of its memory is free.
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
