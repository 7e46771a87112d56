import { hash } from 'node:crypto';
import { z } from 'zod';
import { isJsonObject } from '../json/json.js';
import type { Clock } from '../clock.js';
import type { Metrics } from '../metrics.js';
import type { Envelope } from '../model/envelope.js';
import type { Fact } from '../model/fact.js';
import { storeLanes } from '../model/lane.js';
import {
  maxErasedPerCall,
  StoreUnavailableError,
  type ErasedCounts,
  type HeldOfPerson,
  type PersonQuery,
  type Store,
} from '../model/store.js';
import type { GetFacts } from './facts.js';

/**
 * The erasure of a person from this relay. It runs when the envelope of the lane `erase` is claimed, before
 * its request to Klaviyo, so that a crash at any point repeats it.
 *
 * While the erasure is unsettled, the store gives no other envelope of the person to anyone. What was
 * accepted before it is removed, and what is in flight is waited for: an envelope that comes back is removed
 * at the next claim. So nothing of it is sent after the deletion at Klaviyo, and what is accepted after the
 * erasure is sent after it.
 */
export type EraserDeps = {
  readonly store: Pick<Store, 'findPerson' | 'erase' | 'getFacts' | 'putFacts'>;
  readonly clock: Pick<Clock, 'now'>;
  readonly metrics: Pick<Metrics, 'settled'>;
  /** Called with the ids of the removed envelopes, for what holds people in memory. */
  readonly onErased: (ids: readonly string[]) => void;
};

/** After these, what is left waits for the next claim. */
const maxRounds = 5;

/**
 * Removes what the store holds of the person. Resolves with the number of envelopes that must end first.
 * Rejects with StoreUnavailableError.
 */
export async function erasePerson(erasure: Envelope, deps: EraserDeps): Promise<number> {
  const { store, metrics, onErased } = deps;
  const person = readErasedPerson(erasure);
  if (person === null) return 0;
  let left = 0;
  for (let rounds = 0; rounds < maxRounds; rounds++) {
    const held = await store.findPerson(person, erasure);
    const removable = toRemovable(held);
    left = held.envelopes.length;
    if (countHeld(removable) === 0) {
      await recordErasure(erasure, person, { counts: noCounts, deps });
      return left;
    }
    await putRecords(toErasedFacts(removable, erasure, deps.clock.now()), store);
    for (const step of toSteps(removable)) {
      const counts = await store.erase(step);
      onErased(step.envelopes.map(({ id }) => id));
      for (const lane of storeLanes) {
        metrics.settled.inc({ lane, outcome: 'erased' }, counts.envelopes[lane]);
      }
      await recordErasure(erasure, person, { counts: toRemovedCounts(counts), deps });
    }
  }
  return left;
}

/** One lane in each step, so that each step is counted when it is done. */
function* toSteps({ envelopes, deadLetters, facts }: HeldOfPerson): Iterable<HeldOfPerson> {
  for (const lane of storeLanes) {
    const own = envelopes.filter((each) => each.lane === lane);
    for (let from = 0; from < own.length; from += maxErasedPerCall) {
      const some = own.slice(from, from + maxErasedPerCall);
      yield { envelopes: some, deadLetters: [], facts: [] };
    }
  }
  if (deadLetters.length + facts.length > 0) yield { envelopes: [], deadLetters, facts };
}

/** The person of an erasure; null for a payload that names nobody. */
export function readErasedPerson({ keys, payload }: Envelope): PersonQuery | null {
  const element: unknown = JSON.parse(Buffer.from(payload).toString());
  const attributes = isJsonObject(element) ? element.attributes : undefined;
  const [key] = keys;
  if (!isJsonObject(attributes) || key === undefined) return null;
  const value = Object.values(attributes).find((each) => typeof each === 'string');
  return { key, value };
}

function toRemovable({ envelopes, deadLetters, facts }: HeldOfPerson): HeldOfPerson {
  return {
    envelopes: envelopes.filter(({ lane, state }) => state === 'buffered' || lane === 'waiting'),
    deadLetters,
    facts: facts.filter(({ kind }) => kind !== 'erasure'),
  };
}

const countHeld = ({ envelopes, deadLetters, facts }: HeldOfPerson): number =>
  envelopes.length + deadLetters.length + facts.length;

const recordSchema = z.object({
  /** The id of the erasure. */
  erasure: z.string(),
  /** Epoch ms of the latest removal. */
  at: z.number(),
  envelopes: z.number(),
  deadLetters: z.number(),
  facts: z.number(),
});

/** What the relay keeps of an erasure: counts and the date, under a hash. */
export type ErasureRecord = z.output<typeof recordSchema>;

type RemovedCounts = Pick<ErasureRecord, 'envelopes' | 'deadLetters' | 'facts'>;

const noCounts: RemovedCounts = { envelopes: 0, deadLetters: 0, facts: 0 };

const toRemovedCounts = ({ envelopes, deadLetters, facts }: ErasedCounts): RemovedCounts => ({
  envelopes: storeLanes.reduce((sum, lane) => sum + envelopes[lane], 0),
  deadLetters,
  facts,
});

/** After a crash between a removal and its record, the record lacks the counts of that removal. */
async function recordErasure(
  { id }: Envelope,
  { key }: PersonQuery,
  { counts, deps }: { readonly counts: RemovedCounts; readonly deps: EraserDeps },
): Promise<void> {
  const { store, clock } = deps;
  const before = await getErasureRecord(id, (keys) => store.getFacts(keys));
  if (before !== null && counts === noCounts) return;
  const record: ErasureRecord = {
    erasure: id,
    at: clock.now(),
    envelopes: (before?.envelopes ?? 0) + counts.envelopes,
    deadLetters: (before?.deadLetters ?? 0) + counts.deadLetters,
    facts: (before?.facts ?? 0) + counts.facts,
  };
  const value = JSON.stringify(record);
  const facts = [id, key].map((name): Fact => ({ kind: 'erasure', key: toRecordKey(name), value }));
  await putRecords(facts, store);
}

async function putRecords(facts: readonly Fact[], store: Pick<Store, 'putFacts'>): Promise<void> {
  const put = await store.putFacts(facts);
  if (!put.ok)
    throw new StoreUnavailableError(`no records can be stored: ${put.backpressure.reason}`);
}

/** Written before the removal, so that a receipt never disappears. A stored envelope has priority. */
function toErasedFacts(
  { envelopes, deadLetters }: HeldOfPerson,
  erasure: Envelope,
  at: number,
): readonly Fact[] {
  const value = JSON.stringify({ ...noCounts, erasure: erasure.id, at });
  return [...envelopes, ...deadLetters].map(({ id }) => ({
    kind: 'erasure',
    key: toErasedKey(id),
    value,
  }));
}

const toRecordKey = (name: string): string => hash('sha256', `erasure\n${name}`, 'base64url');

const toErasedKey = (id: string): string => hash('sha256', `erased\n${id}`, 'base64url');

/** The record of an erasure, by its id or by the identity key of the person; null if there is none. */
export async function getErasureRecord(
  name: string,
  getFacts: GetFacts,
): Promise<ErasureRecord | null> {
  return parseRecord(await getFacts([toRecordKey(name)]));
}

/** Returns which erasure removed an envelope; null if none did. */
export async function findErasureOf(id: string, getFacts: GetFacts): Promise<ErasureRecord | null> {
  return parseRecord(await getFacts([toErasedKey(id)]));
}

function parseRecord([value]: readonly (string | null)[]): ErasureRecord | null {
  return value == null ? null : (recordSchema.safeParse(JSON.parse(value)).data ?? null);
}
