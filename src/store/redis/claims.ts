import { z } from 'zod';
import type { StoreLane } from '../../model/lane.js';
import type { Reason } from '../../model/outcome.js';
import { type RedisReply, type Script, UnavailableError } from '../../redis/connection.js';
import { toId } from '../ids.js';
import type { Queued } from '../lane-queue.js';
import { storeScripts } from './scripts.js';
import type { Session } from './session.js';
import { readBytes, readNumber, readReplyList, readReplyText } from './store-state.js';

/** An envelope that this relay has claimed. */
export type Claimed = Queued & {
  /** The number of this relay's claim. */
  readonly claim: number;
};

/** What the store keeps about earlier attempts of an envelope. */
export type AttemptState = Pick<Claimed, 'attempts' | 'alone' | 'lastTry' | 'ref'>;

const triesSchema = z.object({
  attempts: z.int(),
  alone: z.boolean(),
  lastTry: z
    .object({
      deliveryId: z.string().nullable(),
      reason: z.custom<Reason>((value) => typeof value === 'object').nullable(),
    })
    .nullable(),
  ref: z.string().nullable(),
});

const untried: AttemptState = { attempts: 0, alone: false, lastTry: null, ref: null };

export function readAttemptState(text: string): AttemptState {
  return text === '' ? untried : triesSchema.parse(JSON.parse(text));
}

export function writeAttemptState({ attempts, alone, lastTry, ref }: AttemptState): string {
  return JSON.stringify({ attempts, alone, lastTry, ref });
}

const fields = 5;

/** Parses the flat list of claim.lua: item, seq, attempt state, m and payload of each envelope. */
export function toClaimed(
  flat: readonly RedisReply[],
  {
    lane,
    epoch,
    claim,
  }: { readonly lane: StoreLane; readonly epoch: string; readonly claim: number },
): readonly (readonly [item: number, claimed: Claimed])[] {
  return Array.from({ length: flat.length / fields }, (_, index) => {
    const [item, number, tries, m, payload] = flat.slice(index * fields, (index + 1) * fields);
    const [acceptedAt, readyAt, ...keys] = readReplyText(m).split(' ');
    const seq = readNumber(number);
    const claimed: Claimed = {
      id: toId({ lane, epoch, seq }),
      lane,
      seq,
      claim,
      keys,
      acceptedAt: Number(acceptedAt),
      readyAt: Number(readyAt),
      inFlight: true,
      payload: readBytes(payload),
      ...readAttemptState(readReplyText(tries)),
    };
    return [readNumber(item), claimed] as const;
  });
}

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
