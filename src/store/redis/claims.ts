import { UnavailableError, type RedisReply, type Script } from '../../redis/connection.js';
import { storeScripts } from './scripts.js';
import type { Session } from './session.js';
import { readList } from './view.js';

/**
 * The claims of one relay, numbered. Where the answer to one is lost, or comes too late, nobody sends
 * what it claimed: it is given back by its number as soon as the server answers again.
 */
export class Claims {
  readonly #session: Session;
  #last = 0;
  #lost: readonly number[] = [];

  constructor(session: Session) {
    this.#session = session;
    // What was claimed under the name before went back to all.
    session.onLost(() => (this.#lost = []));
    session.onLook(() => {
      if (this.#lost.length > 0) void this.#giveUp();
    });
  }

  /** What the script claimed, and under which number; nothing where the server is away. */
  async run(
    script: Script,
    args: readonly (string | number)[],
  ): Promise<{ readonly claim: number; readonly claimed: readonly RedisReply[] }> {
    const claim = ++this.#last;
    const { relay } = this.#session;
    const isCurrent = (): boolean => relay === this.#session.relay;
    try {
      const [claimed] = await this.#session.change(script, [relay, claim, ...args]);
      // A process that stood still reads the answer when others may have sent what it claimed, and newer.
      if (isCurrent() && this.#session.hasLease()) return { claim, claimed: readList(claimed) };
    } catch (error) {
      if (!(error instanceof UnavailableError)) throw error;
    }
    if (isCurrent()) this.#lost = [...this.#lost, claim];
    return { claim, claimed: [] };
  }

  async #giveUp(): Promise<void> {
    const lost = this.#lost;
    const { relay } = this.#session;
    this.#lost = [];
    try {
      await this.#session.change(storeScripts.releaseClaims, [relay, ...lost]);
    } catch {
      // At the next look.
      if (relay === this.#session.relay) this.#lost = [...lost, ...this.#lost];
    }
  }
}
