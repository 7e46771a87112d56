import { below, makeEvent, type Random } from './seeded-load.js';

export type LedgerOptions = {
  /** Monotonic ms. */
  readonly now: () => number;
  /** Returns true if a failover may have lost envelopes that were acknowledged at that time. */
  readonly mayBeLost: (at: number) => boolean;
};

const nothingIsLost: LedgerOptions = { now: () => 0, mayBeLost: () => false };

/** Records what the callers sent and what was answered with 202. */
export class Ledger {
  readonly #seed: number;
  readonly #options: LedgerOptions;
  readonly sentEvents = new Set<number>();
  /** The relay's id by the event's number. */
  readonly acknowledgedEvents = new Map<number, string>();
  readonly #acknowledged: number[] = [];
  /** Number of sent updates by person. All of them are acknowledged, except those in flight. */
  readonly steps = new Map<number, number>();
  readonly updateIds = new Set<string>();
  /** When each event was acknowledged under its current id, by number. */
  readonly eventTimes = new Map<number, number>();
  /** When updates were sent, by person. */
  readonly #updateTimes = new Map<number, number[]>();
  /** Number of sent actions by subscriber. All of them are acknowledged, except those in flight. */
  readonly actions = new Map<number, number>();
  readonly actionIds = new Set<string>();
  readonly #actionTimes = new Map<number, number[]>();
  /** When each id was returned; a server that lost envelopes may return an id again. */
  readonly #idTimes = new Map<string, number[]>();
  /** Violations that a caller can see. */
  readonly problems: string[] = [];
  posts = 0;
  lostResponses = 0;

  constructor(seed: number, options: LedgerOptions = nothingIsLost) {
    this.#seed = seed;
    this.#options = options;
  }

  get sentUpdates(): number {
    return sumOf(this.steps);
  }

  get sentActions(): number {
    return sumOf(this.actions);
  }

  recordSentEvents(numbers: readonly number[]): void {
    for (const number of numbers) this.sentEvents.add(number);
  }

  recordAcknowledgedEvents(numbers: readonly number[], ids: readonly string[]): void {
    if (ids.length !== numbers.length)
      this.problems.push(`${numbers.length} events got ${ids.length} ids`);
    numbers.forEach((number, index) => this.#recordAcknowledged(number, ids[index] ?? ''));
  }

  /** Returns the number of the person's next update. */
  recordSentUpdate(person: number): number {
    const step = this.steps.get(person) ?? 0;
    this.steps.set(person, step + 1);
    addTime(this.#updateTimes, person, this.#options.now());
    return step;
  }

  recordAcknowledgedUpdates(ids: readonly string[]): void {
    for (const id of ids) {
      if (this.updateIds.has(id) && !this.mayBeLost(id))
        this.problems.push(`two profiles were given the id ${id}`);
      this.updateIds.add(id);
      addTime(this.#idTimes, id, this.#options.now());
    }
  }

  /** Returns the number of the subscriber's next action. */
  recordSentAction(subscriber: number): number {
    const step = this.actions.get(subscriber) ?? 0;
    this.actions.set(subscriber, step + 1);
    addTime(this.#actionTimes, subscriber, this.#options.now());
    return step;
  }

  recordAcknowledgedAction(id: string): void {
    if (this.actionIds.has(id) && !this.mayBeLost(id))
      this.problems.push(`two actions were given the id ${id}`);
    this.actionIds.add(id);
    addTime(this.#idTimes, id, this.#options.now());
  }

  /** Returns true if an action of that subscriber may have been lost. */
  mayHaveLostAction(subscriber: number): boolean {
    return this.#actionTimes.get(subscriber)?.some(this.#options.mayBeLost) ?? false;
  }

  /** Returns true if the envelope with that id may have been lost in a failover. */
  mayBeLost(id: string): boolean {
    return this.#idTimes.get(id)?.some(this.#options.mayBeLost) ?? false;
  }

  /** Returns true if an update of that person may have been lost or accepted twice. */
  mayHaveLost(person: number): boolean {
    return this.#updateTimes.get(person)?.some(this.#options.mayBeLost) ?? false;
  }

  /** Returns the number of acknowledged envelopes that may be lost. */
  countUncertain(): number {
    return [...this.#idTimes.keys()].filter((id) => this.mayBeLost(id)).length;
  }

  pickAcknowledged(random: Random): number | null {
    return this.#acknowledged[below(random, this.#acknowledged.length)] ?? null;
  }

  /** A good event must keep its first id; a bad one is accepted again after it became a dead letter. */
  #recordAcknowledged(number: number, id: string): void {
    const before = this.acknowledgedEvents.get(number);
    if (before === undefined) this.#acknowledged.push(number);
    else if (
      before !== id &&
      makeEvent(this.#seed, number).properties.mark === 'good' &&
      !this.mayBeLost(before)
    ) {
      this.problems.push(`event ${number} was accepted twice, as ${before} and as ${id}`);
    }
    this.acknowledgedEvents.set(number, id);
    if (before === id) return;
    const now = this.#options.now();
    this.eventTimes.set(number, now);
    addTime(this.#idTimes, id, now);
  }
}

function sumOf(counts: ReadonlyMap<number, number>): number {
  return [...counts.values()].reduce((sum, count) => sum + count, 0);
}

function addTime<Key>(times: Map<Key, number[]>, key: Key, at: number): void {
  const all = times.get(key);
  if (all === undefined) times.set(key, [at]);
  else all.push(at);
}
