import { hash } from 'node:crypto';
import { isJsonObject } from '../../json/json.js';
import type { Draft, Envelope } from '../../model/envelope.js';
import { mapStoreLanes, storeLanes, type StoreLane } from '../../model/lane.js';
import type {
  ErasedCounts,
  HeldDeadLetter,
  HeldEnvelope,
  HeldFact,
  HeldOfPerson,
  PersonQuery,
} from '../../model/store.js';
import { factKinds } from '../../model/fact.js';
import type { RedisReply } from '../../redis/connection.js';
import { fromId, toId } from '../ids.js';
import { createIsBefore, createPersonMatcher, type PersonMatcher } from '../person.js';
import type { RedisQueries } from './redis-queries.js';
import { storeScripts } from './scripts.js';
import type { Session } from './session.js';
import { readBytes, readNumber, readReplyList, readReplyText } from './store-state.js';

/** Entries that one script reads or removes, since the server runs nothing else meanwhile. */
const entriesPerScript = 500;

const serverKinds = [
  ['e', 'email'],
  ['p', 'phone_number'],
  ['x', 'external_id'],
] as const;

/**
 * Adds the key by which claim.lua finds the events of the person, whose payloads have no identity key
 * (`toServerKey` in person-order.lua).
 */
export function withServerKey(draft: Draft): Draft {
  if (draft.lane !== 'erase') return draft;
  const element: unknown = JSON.parse(Buffer.from(draft.payload).toString());
  const attributes = isJsonObject(element) ? element.attributes : undefined;
  if (!isJsonObject(attributes)) return draft;
  const keys = serverKinds.flatMap(([kind, name]) => {
    const value = attributes[name];
    return typeof value === 'string' ? [toServerKey(kind, value)] : [];
  });
  return { ...draft, keys: [...draft.keys, ...keys] };
}

function toServerKey(kind: string, value: string): string {
  const isPlain = /^[\0-\x7f]*$/.test(value);
  const form = kind !== 'e' ? value : isPlain ? value.toLowerCase() : '';
  return `s${hash('sha1', kind + form, 'hex')}`;
}

export type ErasureDeps = {
  readonly session: Session;
  readonly queries: RedisQueries;
  readonly epoch: () => string;
};

/** Finds what Redis holds of a person, and removes it. The relay reads all of it in pages. */
export class RedisErasure {
  readonly #deps: ErasureDeps;

  constructor(deps: ErasureDeps) {
    this.#deps = deps;
  }

  async find(person: PersonQuery, erasure?: Envelope): Promise<HeldOfPerson> {
    const matcher = createPersonMatcher(person);
    const isBefore = erasure === undefined ? () => true : createIsBefore(erasure);
    const envelopes: HeldEnvelope[] = [];
    for (const lane of storeLanes) {
      if (lane === 'erase' && erasure !== undefined) continue;
      const found = await this.#findEnvelopes(lane, matcher);
      envelopes.push(...found.filter(({ id }) => isBefore(lane, id)));
    }
    const deadLetters: HeldDeadLetter[] = [];
    for await (const step of this.#deps.queries.iterateDeadLetters(Infinity)) {
      for (const { value } of step) {
        const { id, lane, acceptedAt, reason } = value;
        if (!isBefore(lane, id) || !matcher.isAbout(value)) continue;
        deadLetters.push({ id, lane, acceptedAt, code: reason.code });
      }
    }
    const facts = [
      ...(await this.#findFacts('facts', matcher)),
      ...(await this.#findFacts('memos', matcher)),
    ];
    return { envelopes, deadLetters, facts };
  }

  async removeEnvelopes(held: readonly HeldEnvelope[]): Promise<ErasedCounts['envelopes']> {
    const counts = { ...mapStoreLanes(() => 0) };
    for (const lane of storeLanes) {
      const seqs = held.flatMap((each) => (each.lane === lane ? [fromId(each.id)?.seq ?? 0] : []));
      counts[lane] = await this.#removeInSteps(
        (some) => this.#deps.session.run(storeScripts.erase, [lane, ...some], 'replicated'),
        seqs,
      );
    }
    return counts;
  }

  removeFacts(facts: readonly HeldFact[]): Promise<number> {
    const keys = facts.map(({ key }) => key);
    return this.#removeInSteps(
      (some) => this.#deps.session.run(storeScripts.removeFacts, some, 'replicated'),
      keys,
    );
  }

  async #removeInSteps<T>(
    run: (some: readonly T[]) => Promise<readonly RedisReply[]>,
    all: readonly T[],
  ): Promise<number> {
    let removed = 0;
    for (let from = 0; from < all.length; from += entriesPerScript) {
      const [count] = await run(all.slice(from, from + entriesPerScript));
      removed += Number(count);
    }
    return removed;
  }

  async #findEnvelopes(lane: StoreLane, matcher: PersonMatcher): Promise<readonly HeldEnvelope[]> {
    // A cursor of a hash may return an entry twice.
    const found = new Map<string, HeldEnvelope>();
    for (const place of ['queue', 'redriven']) {
      for (let from = '0'; from !== '';) {
        const args = [lane, place, from, entriesPerScript];
        const reply = await this.#deps.session.read(storeScripts.listEnvelopes, args);
        const [next, flat] = readReplyList(reply);
        for (const [seq, inFlight, m, payload] of chunk(readReplyList(flat), 4)) {
          const [acceptedAt, , ...keys] = readReplyText(m).split(' ');
          if (!matcher.isAbout({ lane, keys, payload: readBytes(payload) })) continue;
          const id = toId({ lane, epoch: this.#deps.epoch(), seq: readNumber(seq) });
          const state = readNumber(inFlight) === 1 ? 'in_flight' : 'buffered';
          found.set(id, { id, lane, state, acceptedAt: Number(acceptedAt) });
        }
        from = readReplyText(next);
      }
    }
    return [...found.values()];
  }

  async #findFacts(name: 'facts' | 'memos', matcher: PersonMatcher): Promise<readonly HeldFact[]> {
    const found = new Map<string, HeldFact>();
    let cursor = '0';
    do {
      const args = [name, cursor, entriesPerScript];
      const [next, flat] = readReplyList(
        await this.#deps.session.read(storeScripts.listFacts, args),
      );
      for (const [key, record] of chunk(readReplyList(flat), 2)) {
        const fact = parseFactRecord(name, readReplyText(record));
        if (!matcher.isInFact(fact.value)) continue;
        found.set(readReplyText(key), { key: readReplyText(key), kind: fact.kind });
      }
      cursor = readReplyText(next);
    } while (cursor !== '0');
    return [...found.values()];
  }
}

/** A fact of an earlier version is only its value. */
function parseFactRecord(name: 'facts' | 'memos', record: string) {
  const [, word, value = record] = /^(\w+) \d+ (.*)$/s.exec(name === 'facts' ? record : '') ?? [];
  return { kind: factKinds.find((each) => each === word) ?? 'other', value };
}

function chunk<T>(flat: readonly T[], size: number): readonly (readonly T[])[] {
  return Array.from({ length: flat.length / size }, (_, index) =>
    flat.slice(index * size, (index + 1) * size),
  );
}
