import type { Clock } from '../../clock.js';
import type { Draft } from '../../model/envelope.js';
import { UnavailableError, type RedisReply } from '../../redis/connection.js';
import { payloadBytes } from '../claim-builder.js';
import { storeScripts } from './scripts.js';
import { encodeDraft } from './dead-letter.js';
import type { Session } from './session.js';
import { readReplyList } from './store-state.js';

/** Result of one request: a number for each draft, negative for a duplicate of the event with that number. */
export type Numbers = readonly number[] | 'full' | 'unavailable';

type PendingRequest = {
  readonly drafts: readonly Draft[];
  readonly answer: (numbers: Numbers) => void;
  readonly fail: (error: unknown) => void;
};

export type AppendsOptions = {
  readonly clock: Pick<Clock, 'now'>;
  /** maxCount, maxBytes, age and count of the dedupe window, maxDeadLetters (append.lua). */
  readonly bounds: readonly number[];
  /** Called with the dead deadLetters that were dropped at the bound, as they are stored. */
  readonly onDropped: (deadLetters: readonly RedisReply[]) => void;
};

/** Most bytes in one script, because the server runs nothing else while a script runs. */
const maxBytes = 1024 * 1024;

/**
 * Sends all requests of one turn of the event loop in one script. Each request is stored as a whole or not at all.
 */
export class Appends {
  readonly #session: Session;
  readonly #options: AppendsOptions;
  #pending: PendingRequest[] = [];
  /** True while a script waits for replicas: further requests are collected until it is done. */
  #isWaitingForReplicas = false;

  constructor(session: Session, options: AppendsOptions) {
    this.#session = session;
    this.#options = options;
  }

  append(drafts: readonly Draft[]): Promise<Numbers> {
    return new Promise((answer, fail) => {
      this.#pending.push({ drafts, answer, fail });
      if (this.#pending.length === 1 && !this.#isWaitingForReplicas)
        setImmediate(() => this.#sendAll());
    });
  }

  #sendAll(): void {
    const all = this.#pending;
    this.#pending = [];
    let from = 0;
    let bytes = 0;
    const parts: Promise<void>[] = [];
    all.forEach(({ drafts }, index) => {
      const own = drafts.reduce((sum, draft) => sum + payloadBytes(draft), 0);
      if (bytes > 0 && bytes + own > maxBytes) {
        parts.push(this.#send(all.slice(from, index)));
        from = index;
        bytes = 0;
      }
      bytes += own;
    });
    parts.push(this.#send(all.slice(from)));
    if (!this.#session.waitsForReplicas) return;
    this.#isWaitingForReplicas = true;
    void Promise.all(parts).finally(() => {
      this.#isWaitingForReplicas = false;
      if (this.#pending.length > 0) this.#sendAll();
    });
  }

  async #send(requests: readonly PendingRequest[]): Promise<void> {
    const { clock, bounds, onDropped } = this.#options;
    const now = clock.now();
    const flat = requests.flatMap(({ drafts }) => [
      drafts.length,
      ...drafts.flatMap((one) => [
        one.lane,
        one.acceptedAt,
        one.keys.join(' '),
        one.payload,
        encodeDraft(one, now),
      ]),
    ]);
    try {
      if (!this.#session.hasLease())
        throw new UnavailableError('the lease of this relay has ended');
      const [replies, dropped] = await this.#session.run(
        storeScripts.append,
        [...bounds, ...flat],
        'replicated',
      );
      readReplyList(replies).forEach((reply, index) => {
        const request = requests[index];
        const numbers = readReplyList(reply).map(Number);
        const isFull = numbers.length < (request?.drafts.length ?? 0);
        request?.answer(isFull ? 'full' : numbers);
      });
      onDropped(readReplyList(dropped));
    } catch (error) {
      for (const { answer, fail } of requests) {
        if (error instanceof UnavailableError) answer('unavailable');
        else fail(error);
      }
    }
  }
}
