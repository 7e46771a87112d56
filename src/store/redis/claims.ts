import { UnavailableError, type RedisReply, type Script } from '../../redis/connection.js';
import { storeScripts } from './scripts.js';
import type { Session } from './session.js';
import { readReplyList } from './store-state.js';

/**
 * Runs the scripts that claim envelopes, under increasing numbers. If a reply is lost or late, the relay sends
 * nothing of this claim, and releases it by its number as soon as the server answers again.
 */
export class Claims {
  readonly #session: Session;
  #last = 0;
  #lost: readonly number[] = [];

  constructor(session: Session) {
    this.#session = session;
    // The server released all claims under the former name.
    session.onLost(() => (this.#lost = []));
    session.onHeartbeat(() => {
      if (this.#lost.length > 0) void this.#releaseLost();
    });
  }

  /** Resolves with the number and the result of a claim; the result is empty if the server is unavailable. */
  async run(
    script: Script,
    args: readonly (string | number)[],
  ): Promise<{ readonly claim: number; readonly claimed: readonly RedisReply[] }> {
    const claim = ++this.#last;
    const { relay } = this.#session;
    const isCurrent = (): boolean => relay === this.#session.relay;
    try {
      const [claimed] = await this.#session.change(script, [relay, claim, ...args]);
      // After a pause of the process, other relays may have sent what this claim contains, and newer envelopes.
      if (isCurrent() && this.#session.hasLease())
        return { claim, claimed: readReplyList(claimed) };
    } catch (error) {
      if (!(error instanceof UnavailableError)) throw error;
    }
    if (isCurrent()) this.#lost = [...this.#lost, claim];
    return { claim, claimed: [] };
  }

  async #releaseLost(): Promise<void> {
    const lost = this.#lost;
    const { relay } = this.#session;
    this.#lost = [];
    try {
      await this.#session.change(storeScripts.releaseClaims, [relay, ...lost]);
    } catch {
      // The next heartbeat tries again.
      if (relay === this.#session.relay) this.#lost = [...lost, ...this.#lost];
    }
  }
}
