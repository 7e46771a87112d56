import type { Clock } from '../../clock.js';
import type { DeadLetter, DeadLetterFilter } from '../../model/dead-letter.js';
import type { Delivery, DeliveryFilter } from '../../model/delivery.js';
import type { Page, PageQuery, Receipt } from '../../model/store.js';
import { createDeadLetterFilter, type StoredDeadLetter } from '../dead-letters.js';
import { isShown } from '../delivery-log.js';
import { fromId } from '../ids.js';
import { type Numbered, parseCursor, readPage } from '../page.js';
import { readAttemptState } from './claims.js';
import { parseDeadLetter } from './dead-letter.js';
import { storeScripts } from './scripts.js';
import type { Session } from './session.js';
import { readBytes, readNumber, readReplyList, readReplyText } from './store-state.js';

/** Dead letters that are read at once, each with its payload. */
const deadLettersPerRead = 200;
const deliveriesPerStep = 1000;

/** Reads dead letters, the delivery log and receipts. */
export class RedisQueries {
  readonly #session: Session;
  readonly #clock: Pick<Clock, 'monotonic'>;

  constructor(session: Session, clock: Pick<Clock, 'monotonic'>) {
    this.#session = session;
    this.#clock = clock;
  }

  async receipt(id: string): Promise<Receipt | null> {
    const number = this.#parseId(id);
    if (number === null) return null;
    const { lane, seq } = number;
    const [state, found, merged] = readReplyList(
      await this.#session.read(storeScripts.getReceipt, [lane, seq]),
    );
    const base = { id, lane, reason: null, merged: false };
    switch (readReplyText(state)) {
      case 'in_flight':
      case 'buffered': {
        const { lastTry } = readAttemptState(readReplyText(found));
        const { deliveryId, reason } = lastTry ?? { deliveryId: null, reason: null };
        return { ...base, state: readReplyText(state) as Receipt['state'], deliveryId, reason };
      }
      case 'dead_lettered': {
        const { deliveryId, reason } = parseDeadLetter(readBytes(found), number.epoch);
        return { ...base, state: 'dead_lettered', deliveryId, reason };
      }
      case 'delivered': {
        const { id: deliveryId } = parseDelivery(readReplyText(found));
        return { ...base, state: 'delivered', deliveryId, merged: readReplyText(merged) === '1' };
      }
      default:
        return null;
    }
  }

  async deliveries(filter: DeliveryFilter, page: PageQuery): Promise<Page<Delivery>> {
    const found: Numbered<Delivery>[] = [];
    let shown = 0;
    for (let from = below(page.cursor); from > 0 && shown <= page.limit;) {
      const reply = await this.#session.read(storeScripts.listDeliveries, [
        from,
        deliveriesPerStep,
      ]);
      const [flat, next] = readReplyList(reply);
      for (const [order, text] of toPairs(readReplyList(flat))) {
        const value = parseDelivery(readReplyText(text));
        if (isShown(value, filter)) shown++;
        found.push({ order: readNumber(order), value });
      }
      from = Number(next);
    }
    return readPage(found, { ...page, clock: this.#clock }, (delivery) =>
      isShown(delivery, filter),
    );
  }

  async delivery(id: string): Promise<Delivery | null> {
    const text = readReplyText(await this.#session.read(storeScripts.getDelivery, [id]));
    return text === '' ? null : parseDelivery(text);
  }

  async deadLetters(filter: DeadLetterFilter, page: PageQuery): Promise<Page<DeadLetter>> {
    const found: Numbered<DeadLetter>[] = [];
    const isMatch = createDeadLetterFilter(filter);
    let shown = 0;
    for await (const step of this.iterateDeadLetters(below(page.cursor))) {
      for (const deadLetter of step) {
        if (!isMatch(deadLetter.value)) continue;
        shown++;
        found.push(deadLetter);
      }
      if (shown > page.limit) break;
    }
    return readPage(found, { ...page, clock: this.#clock }, () => true);
  }

  async deadLetter(id: string): Promise<DeadLetter | null> {
    const number = this.#parseId(id);
    if (number === null) return null;
    const blob = await this.#session.read(storeScripts.getDeadLetter, [number.lane, number.seq]);
    return Buffer.isBuffer(blob) ? parseDeadLetter(blob, number.epoch) : null;
  }

  /** Yields the dead letters up to an order, newest first, in steps. */
  async *iterateDeadLetters(from: number): AsyncGenerator<readonly Numbered<StoredDeadLetter>[]> {
    const epoch = this.#session.cachedState.state?.epoch ?? '';
    let next: string | null = from === Infinity ? '+inf' : String(from);
    while (next !== null) {
      const flat = readReplyList(
        await this.#session.read(storeScripts.listDeadLetters, [next, deadLettersPerRead]),
      );
      const step = toPairs(flat).map(([order, blob]) => ({
        order: readNumber(order),
        value: parseDeadLetter(readBytes(blob), epoch),
      }));
      yield step;
      const last = step.at(-1);
      next = step.length < deadLettersPerRead || last === undefined ? null : `(${last.order}`;
    }
  }

  #parseId(id: string) {
    const number = fromId(id);
    return number?.epoch === this.#session.cachedState.state?.epoch ? number : null;
  }
}

/** The order that a page begins with; 0, which is below every order, for an invalid cursor. */
function below(cursor: string | undefined): number {
  const order = parseCursor(cursor) - 1;
  return Number.isNaN(order) ? 0 : Math.min(order, Number.MAX_SAFE_INTEGER);
}

const parseDelivery = (text: string): Delivery => JSON.parse(text) as Delivery;

const toPairs = <T>(flat: readonly T[]): readonly (readonly [T, T])[] =>
  Array.from({ length: flat.length / 2 }, (_, index) => [
    flat[2 * index] as T,
    flat[2 * index + 1] as T,
  ]);
