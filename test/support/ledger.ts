import { below, makeEvent, type Random } from './seeded-load.js';

/** What a producer knows: all it ever sent, and what was answered 202. */
export class Ledger {
  readonly #seed: number;
  readonly sentEvents = new Set<number>();
  /** The relay's id by the event's number. */
  readonly acknowledgedEvents = new Map<number, string>();
  readonly #acknowledged: number[] = [];
  /** Updates sent so far, by person. All but those under way are acknowledged. */
  readonly steps = new Map<number, number>();
  readonly updateIds = new Set<string>();
  /** What no caller should ever see. */
  readonly problems: string[] = [];
  posts = 0;
  lostAnswers = 0;

  constructor(seed: number) {
    this.#seed = seed;
  }

  get sentUpdates(): number {
    return [...this.steps.values()].reduce((sum, count) => sum + count, 0);
  }

  sendsEvents(numbers: readonly number[]): void {
    for (const number of numbers) this.sentEvents.add(number);
  }

  acknowledgesEvents(numbers: readonly number[], ids: readonly string[]): void {
    if (ids.length !== numbers.length)
      this.problems.push(`${numbers.length} events got ${ids.length} ids`);
    numbers.forEach((number, index) => this.#acknowledges(number, ids[index] ?? ''));
  }

  /** The number of a person's next update. */
  sendsUpdate(person: number): number {
    const step = this.steps.get(person) ?? 0;
    this.steps.set(person, step + 1);
    return step;
  }

  acknowledgesUpdates(ids: readonly string[]): void {
    for (const id of ids) {
      if (this.updateIds.has(id)) this.problems.push(`two profiles were given the id ${id}`);
      this.updateIds.add(id);
    }
  }

  anyAcknowledged(random: Random): number | null {
    return this.#acknowledged[below(random, this.#acknowledged.length)] ?? null;
  }

  /** One that became a dead letter is taken anew, so only those that did not keep their first id. */
  #acknowledges(number: number, id: string): void {
    const before = this.acknowledgedEvents.get(number);
    if (before === undefined) this.#acknowledged.push(number);
    else if (before !== id && makeEvent(this.#seed, number).properties.mark === 'good') {
      this.problems.push(`event ${number} was taken twice, as ${before} and as ${id}`);
    }
    this.acknowledgedEvents.set(number, id);
  }
}
