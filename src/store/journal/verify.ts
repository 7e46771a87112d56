import { factKinds } from '../../model/fact.js';
import { laneTraits, storeLanes } from '../../model/lane.js';
import { Backlog, measureEntries } from './backlog.js';
import { decodeBlock } from './block.js';
import { decodeFact, decodeLegacyFact, decodePlace, kindNumbers } from './fact.js';
import { decodeDeadLetter } from './dead-letter-codec.js';
import { readTotals } from './read-totals.js';
import type { BlockKey, Tables } from './tables.js';
import { type LaneTotals } from './totals.js';
import { toErrorMessage } from '../../error.js';

/**
 * Reads the whole journal and yields one sentence for each error. If a page cannot be read, it throws LMDB's error.
 */
export function* verify(tables: Tables): Generator<string> {
  const totals = readTotals(tables);
  if (totals === null) {
    yield 'the totals cannot be read';
    return;
  }
  for (const lane of storeLanes) {
    const number = laneTraits[lane].number;
    yield* verifyBlocks(tables, number, totals.lanes[lane]);
    yield* verifyDeadLetters(tables, number, totals.lanes[lane]);
  }
  for (const { key, value } of tables.dedupe.getRange()) {
    yield* yieldError(() => decodeBlock(value.subarray(1), `entry ${key} of seen`));
  }
  yield* verifyLog(tables);
  yield* verifyFacts(tables);
  yield* verifyLegacyFacts(tables);
}

function* verifyBlocks(tables: Tables, lane: number, totals: LaneTotals): Generator<string> {
  const backlog = new Backlog(tables, lane);
  const found = { count: 0, bytes: 0 };
  const keys = tables.blocks.getKeys({ start: [lane], end: [lane + 1] });
  for (const key of keys as Iterable<BlockKey>) {
    yield* yieldError(() => {
      const { block, entries } = backlog.read(key);
      if (block.states.length !== entries.length)
        throw new Error(`block ${key.join('/')} has other states`);
      const span = measureEntries(entries.filter((_, index) => block.states[index] !== 'settled'));
      found.count += span.count;
      found.bytes += span.bytes;
    });
  }
  if (found.count !== totals.count || found.bytes !== totals.bytes) {
    yield `lane ${lane} holds ${found.count} unsettled envelopes of ${found.bytes} bytes, and its totals say ${totals.count} of ${totals.bytes}`;
  }
  for (const key of tables.states.getKeys({ start: [lane], end: [lane + 1] })) {
    if (!tables.blocks.doesExist(key))
      yield `there are states for block ${key.join('/')}, which is not there`;
  }
}

function* verifyDeadLetters(tables: Tables, lane: number, totals: LaneTotals): Generator<string> {
  let found = 0;
  for (const { key, value: order } of tables.deadLetterOrders.getRange({
    start: [lane],
    end: [lane + 1],
  })) {
    found++;
    yield* yieldError(() => {
      const bytes = tables.deadLetters.get(order);
      if (bytes === undefined) throw new Error(`dead letter ${order} is not there`);
      const deadLetter = decodeDeadLetter(bytes, `dead letter ${order}`);
      if (deadLetter.seq !== key[1])
        throw new Error(`dead letter ${order} has another number than its index`);
    });
  }
  if (found !== totals.deadLetters) {
    yield `lane ${lane} holds ${found} dead letters, and its totals say ${totals.deadLetters}`;
  }
}

function* verifyLog({ deliveries, deliveryOrders, settled, imports }: Tables): Generator<string> {
  for (const { key, value: order } of deliveryOrders.getRange()) {
    if (deliveries.get(order)?.delivery.id !== key)
      yield `delivery ${order} is not the one that its index names`;
  }
  for (const { key, value } of settled.getRange()) {
    if (deliveries.get(value.order) === undefined) {
      yield `envelopes ${value.from} to ${key[1]} were settled by delivery ${value.order}, which is not there`;
    }
  }
  for (const { key, value } of imports.getRange()) {
    if (!storeLanes.includes(value.lane)) yield `import job ${key} is of no lane`;
  }
}

/** The messages contain no keys, since a key may be personal data. */
function* verifyFacts({ facts, factOrders }: Tables): Generator<string> {
  let found = 0;
  for (const { key, value } of factOrders.getRange()) {
    found++;
    const kind = factKinds.find((each) => kindNumbers[each] === key[0]);
    const name = `fact ${key[1]} of ${kind ?? 'no known kind'}`;
    yield* yieldError(() => {
      const place = decodePlace(value);
      const bytes = facts.get(place.key);
      if (bytes === undefined) throw new Error(`${name} is not there`);
      const fact = decodeFact(place.key, bytes, name);
      if (fact.kind !== kind || fact.order !== key[1] || fact.at !== place.at)
        throw new Error(`${name} has another place than its index`);
    });
  }
  const count = facts.getKeysCount();
  if (count !== found) yield `there are ${count} facts, and ${found} in the order of their age`;
}

/** Facts that an earlier version wrote. */
function* verifyLegacyFacts({ legacyFacts, legacyFactOrders }: Tables): Generator<string> {
  let found = 0;
  for (const { key: order, value: key } of legacyFactOrders.getRange()) {
    found++;
    yield* yieldError(() => {
      const bytes = legacyFacts.get(key);
      if (bytes === undefined) throw new Error(`memo ${order} is not there`);
      if (decodeLegacyFact(key, bytes, `memo ${order}`).order !== order)
        throw new Error(`memo ${order} has another number than its index`);
    });
  }
  const count = legacyFacts.getKeysCount();
  if (count !== found) yield `there are ${count} memos, and ${found} in the order of their age`;
}

function* yieldError(read: () => unknown): Generator<string> {
  try {
    read();
  } catch (error) {
    yield toErrorMessage(error);
  }
}
