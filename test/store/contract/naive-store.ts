import type { DeadLetterFilter } from '../../../src/model/dead-letter.js';
import type { Draft, Envelope, BatchItem } from '../../../src/model/envelope.js';
import type { StoreLane } from '../../../src/model/lane.js';
import type { AppendedEnvelope } from '../../../src/model/store.js';

/** What the model knows of one accepted envelope. */
export type Entry = {
  readonly id: string;
  readonly lane: StoreLane;
  readonly keys: readonly string[];
  readonly bytes: number;
  /** Within its lane; a redrive keeps it. */
  readonly order: number;
  attempts: number;
  alone: boolean;
  state: 'waiting' | 'in_flight' | 'delayed' | 'delivered' | 'dead' | 'discarded';
  dueAt: number;
};

/** How a test settles a item. */
export type Fate = 'ack' | 'dead-letter' | 'retry' | 'alone';

const share = (some: readonly string[], others: readonly string[]): boolean =>
  some.some((key) => others.includes(key));

/**
 * What a store should be, said as plainly as possible: a list that is looked through from end to
 * end. It does not decide what a claim gives; it says what is wrong with what a store gave.
 */
export class NaiveStore {
  readonly entries = new Map<string, Entry>();
  readonly #known = new Map<string, string>();
  readonly #dedupes: boolean;
  #order = 0;

  constructor(dedupes: boolean) {
    this.#dedupes = dedupes;
  }

  /** What `append` should have answered; `given` is the id the store gave. */
  append(draft: Draft, given: string): AppendedEnvelope {
    const known = draft.keys.map((key) => this.#known.get(key)).find((id) => id !== undefined);
    if (draft.lane === 'events' && known !== undefined) return { id: known, duplicate: true };
    this.entries.set(given, {
      id: given,
      lane: draft.lane,
      keys: draft.keys,
      bytes: draft.payload.byteLength + 1,
      order: this.#order++,
      attempts: 0,
      alone: false,
      state: draft.deadLetterReason === undefined ? 'waiting' : 'dead',
      dueAt: 0,
    });
    if (draft.deadLetterReason === undefined) this.#remember(draft.lane, draft.keys, given);
    return { id: given, duplicate: false };
  }

  /** What is wrong with a claim; empty where nothing is. Takes it over as claimed. */
  claim(lane: StoreLane, items: readonly BatchItem[], now: number): readonly string[] {
    const faults: string[] = [];
    const free = this.#of(lane).filter((entry) => isFree(entry, now));
    const held = this.#of(lane).filter((entry) => !isSettled(entry) && !free.includes(entry));
    const claimed = items.map((item) => item.map(({ id }) => this.entries.get(id)));
    const all = claimed.flat();
    for (const entry of all) {
      if (entry === undefined || !free.includes(entry)) faults.push('claimed what is not free');
      else if (all.indexOf(entry) !== all.lastIndexOf(entry)) faults.push('claimed twice');
      else if (held.some(({ keys }) => share(keys, entry.keys))) faults.push('key is in flight');
      else if (free.some((older) => !all.includes(older) && isOvertaken(older, entry)))
        faults.push('overtook an older one of its key');
    }
    if (faults.length === 0)
      faults.push(
        ...this.#companyFaults(
          claimed.map((one) => one.map(must)),
          items,
        ),
      );
    for (const entry of all) if (entry !== undefined) entry.state = 'in_flight';
    return faults;
  }

  settle(item: BatchItem, fate: Fate, dueAt: number): void {
    for (const { id } of item) {
      const entry = must(this.entries.get(id));
      if (fate === 'ack') entry.state = 'delivered';
      else if (fate === 'dead-letter') {
        entry.state = 'dead';
        for (const key of entry.keys) if (this.#known.get(key) === id) this.#known.delete(key);
      } else {
        entry.state = 'delayed';
        entry.dueAt = dueAt;
        if (fate === 'retry') entry.attempts++;
        else entry.alone = true;
      }
    }
  }

  /** Nobody knows any more what was in flight. */
  crash(): void {
    for (const entry of this.entries.values()) {
      if (entry.state === 'in_flight') entry.state = 'waiting';
    }
  }

  /** Returns how many match. */
  redrive({ lane }: DeadLetterFilter): number {
    const deadLetters = this.#deadLetters(lane);
    for (const deadLetter of deadLetters) {
      deadLetter.state = 'waiting';
      deadLetter.attempts = 0;
      deadLetter.alone = false;
      this.#remember(deadLetter.lane, deadLetter.keys, deadLetter.id);
    }
    return deadLetters.length;
  }

  discard({ lane }: DeadLetterFilter): number {
    const deadLetters = this.#deadLetters(lane);
    for (const deadLetter of deadLetters) deadLetter.state = 'discarded';
    return deadLetters.length;
  }

  depth(lane: StoreLane): { count: number; bytes: number; deadLetters: number } {
    const unsettled = this.#of(lane).filter((entry) => !isSettled(entry));
    return {
      count: unsettled.length,
      bytes: unsettled.reduce((sum, { bytes }) => sum + bytes, 0),
      deadLetters: this.#deadLetters(lane).length,
    };
  }

  /** Waiting or due, whether or not a key holds it up. */
  free(lane: StoreLane, now: number): { count: number; bytes: number } {
    const free = this.#of(lane).filter((entry) => isFree(entry, now));
    return { count: free.length, bytes: free.reduce((sum, { bytes }) => sum + bytes, 0) };
  }

  /** True where nothing is in flight or delayed, so that no key is held. */
  holdsNothing(lane: StoreLane): boolean {
    return !this.#of(lane).some(({ state }) => state === 'in_flight' || state === 'delayed');
  }

  #companyFaults(
    claimed: readonly (readonly Entry[])[],
    items: readonly (readonly Envelope[])[],
  ): readonly string[] {
    const faults: string[] = [];
    claimed.forEach((members, index) => {
      const others = claimed.filter((_, other) => other !== index).flat();
      if (members.some(({ keys }) => others.some((other) => share(keys, other.keys))))
        faults.push('two items share a key');
      if (members.length > 1 && !isOnePerson(members)) faults.push('merged what is not one person');
      if (members.length > 1 && members.some(({ alone }) => alone)) faults.push('merged one alone');
      if (members.some(({ attempts }, at) => items[index]?.[at]?.attempts !== attempts))
        faults.push('wrong attempts');
    });
    return faults;
  }

  #of(lane: StoreLane): readonly Entry[] {
    return [...this.entries.values()].filter((entry) => entry.lane === lane);
  }

  #deadLetters(lane: StoreLane | undefined): readonly Entry[] {
    return [...this.entries.values()].filter(
      (entry) => entry.state === 'dead' && entry.lane === (lane ?? entry.lane),
    );
  }

  #remember(lane: StoreLane, keys: readonly string[], id: string): void {
    if (lane === 'events' && this.#dedupes) for (const key of keys) this.#known.set(key, id);
  }
}

const isFree = ({ state, dueAt }: Entry, now: number): boolean =>
  state === 'waiting' || (state === 'delayed' && dueAt <= now);

const isSettled = ({ state }: Entry): boolean =>
  state === 'delivered' || state === 'dead' || state === 'discarded';

const isOvertaken = (older: Entry, younger: Entry): boolean =>
  older.order < younger.order && share(older.keys, younger.keys);

/** Profiles of one person: in order, each shares a key with those before it, and no kind of key has two values. */
function isOnePerson(members: readonly Entry[]): boolean {
  const values = new Map<string, string>();
  return members.every(({ lane, keys, order }, index) => {
    const isLinked = index === 0 || keys.some((key) => values.get(key.charAt(0)) === key);
    const agrees = keys.every((key) => (values.get(key.charAt(0)) ?? key) === key);
    for (const key of keys) values.set(key.charAt(0), key);
    return lane === 'profiles' && isLinked && agrees && order >= (members[index - 1]?.order ?? 0);
  });
}

function must(entry: Entry | undefined): Entry {
  if (entry === undefined) throw new Error('the model does not know it');
  return entry;
}
