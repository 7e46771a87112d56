import type { Clock } from '../../clock.js';
import type { Draft } from '../../model/envelope.js';
import { UnavailableError, type RedisReply } from '../../redis/connection.js';
import { payloadBytes } from '../claim-builder.js';
import { storeScripts } from './scripts.js';
import { encodeDraft } from './dead-letter.js';
import type { Session } from './session.js';
import { readList } from './view.js';

/** What became of one request: a number a draft, negative for a repeat of that number. */
export type Numbers = readonly number[] | 'full' | 'unavailable';

type Waiting = {
  readonly drafts: readonly Draft[];
  readonly answer: (numbers: Numbers) => void;
  readonly fail: (error: unknown) => void;
};

export type AppendsOptions = {
  readonly clock: Pick<Clock, 'now'>;
  /** maxCount, maxBytes, dedupe's age and count, maxDeadLetters. */
  readonly bounds: readonly number[];
  /** Dead letters that fell out at the bound, as the server keeps them. */
  readonly onDropped: (letters: readonly RedisReply[]) => void;
};

/** A script holds up the server as long as it runs, and what it is sent is copied: more goes into the next. */
const maxBytes = 1024 * 1024;

/**
 * Requests of one turn of the event loop go to the server in one script, each of them taken as a
 * whole or not at all.
 */
export class Appends {
  readonly #session: Session;
  readonly #options: AppendsOptions;
  #waiting: Waiting[] = [];
  /** Until replicas have what was sent, what comes is gathered. */
  #isHeld = false;

  constructor(session: Session, options: AppendsOptions) {
    this.#session = session;
    this.#options = options;
  }

  append(drafts: readonly Draft[]): Promise<Numbers> {
    return new Promise((answer, fail) => {
      this.#waiting.push({ drafts, answer, fail });
      if (this.#waiting.length === 1 && !this.#isHeld) setImmediate(() => this.#sendAll());
    });
  }

  #sendAll(): void {
    const all = this.#waiting;
    this.#waiting = [];
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
    this.#isHeld = true;
    void Promise.all(parts).finally(() => {
      this.#isHeld = false;
      if (this.#waiting.length > 0) this.#sendAll();
    });
  }

  async #send(requests: readonly Waiting[]): Promise<void> {
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
      if (!this.#session.hasLease()) throw new UnavailableError('this relay has not been heard of');
      const [replies, dropped] = await this.#session.run(
        storeScripts.append,
        [...bounds, ...flat],
        'replicated',
      );
      readList(replies).forEach((reply, index) => {
        const request = requests[index];
        const numbers = readList(reply).map(Number);
        const isFull = numbers.length < (request?.drafts.length ?? 0);
        request?.answer(isFull ? 'full' : numbers);
      });
      onDropped(readList(dropped));
    } catch (error) {
      for (const { answer, fail } of requests) {
        if (error instanceof UnavailableError) answer('unavailable');
        else fail(error);
      }
    }
  }
}
