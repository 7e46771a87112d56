import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { lanes, laneTraits, mapLanes, type Lane } from '../../../src/model/lane.js';
import { toGroupedPayload } from '../../../src/model/group.js';
import type { BatchItem, Draft } from '../../../src/model/envelope.js';
import { storeKeys } from '../../../src/store/redis/scripts.js';
import {
  ack,
  aDelivery,
  aDraft,
  anEvent,
  aProfile,
  deadLetter,
  retry,
  settledAs,
} from '../../support/builders.js';
import { startRedis, type RedisServer } from '../../support/redis-server.js';
import { append, appendIds, claim } from '../contract/harness.js';
import { openTestRedis, type RedisUnderTest } from './under-test.js';

let server: RedisServer;
let under: RedisUnderTest;
/** Claimed by the relay when the key was lost. */
let claimed: Readonly<Record<Lane, readonly BatchItem[]>>;

beforeEach(async () => {
  server = await startRedis();
  claimed = mapLanes(() => []);
  under = await openTestRedis({ url: server.url, leaseMs: 3_600_000 });
});
afterEach(async () => {
  expect(under.faults).toEqual([]);
  await under.close();
  await server.close();
});

/** Envelopes in every state: delivered, a dead letter, sent again later, claimed, behind another of its person, and new. Gives those that are not settled. */
async function fill(): Promise<readonly string[]> {
  const kept: string[] = [];
  for (const lane of lanes) {
    const make = (): Draft =>
      aDraft(
        lane,
        laneTraits[lane].isGrouped === true ? { text: toGroupedPayload('', '{}', 0) } : {},
      );
    const before = await appendIds(under.store, [make(), make(), make(), make()]);
    const [delivered, buried, delayed, redriven] = await claim(under.store, {}, lane);
    await settle(lane, [
      ...settledAs([delivered!], ack),
      ...settledAs([buried!], deadLetter()),
      ...settledAs([delayed!], retry(1000)),
      ...settledAs([redriven!], deadLetter('over_age')),
    ]);
    await under.store.redrive({ lane, reason: 'over_age' }, { dryRun: false });
    const shared = make();
    const after = await appendIds(under.store, [shared]);
    claimed = { ...claimed, [lane]: await claim(under.store, {}, lane) };
    const waiting = { ...make(), keys: shared.keys };
    const last = await appendIds(under.store, [waiting, make()]);
    const more = await claim(under.store, {}, lane);
    claimed = { ...claimed, [lane]: [...claimed[lane], ...more] };
    kept.push(before[2]!, before[3]!, ...after, ...last);
  }
  return [...new Set(kept)].sort();
}

const settle = (lane: Lane, settled: ReturnType<typeof settledAs>): Promise<void> =>
  under.store.settle({ lane, settled, delivery: aDelivery({ lane }) });

/** What is left is delivered; its ids, each once. Throws where it does not come to an end. */
async function drain(): Promise<readonly string[]> {
  const ids = new Set<string>();
  for (const lane of lanes) {
    const held = claimed[lane].filter((item) => under.store.stillOwned(item));
    for (const { id } of held.flat()) ids.add(id);
    await settle(lane, settledAs(held, ack));
  }
  claimed = mapLanes(() => []);
  for (let turn = 0; turn < 30; turn++) {
    await under.clock.advance(1000);
    for (const lane of lanes) {
      const items = await claim(under.store, {}, lane);
      for (const { id } of items.flat()) ids.add(id);
      await settle(lane, settledAs(items, ack));
    }
    const left = lanes.reduce((sum, lane) => sum + under.store.depth(lane).count, 0);
    if (left === 0 && under.store.backpressure() === null) return [...ids].sort();
  }
  throw new Error(
    `it does not end: ${JSON.stringify(lanes.map((lane) => under.store.depth(lane)))}`,
  );
}

/** Those that hold what was accepted and not settled. */
const holding = lanes.flatMap((lane) => [`:${lane}:queue`, `:${lane}:redriven`]);
/** What is not needed for it, or is there only while something is under way. */
const others = storeKeys.filter((name) => !holding.includes(name) && !/:(probe|none)$/.test(name));

describe('a buffer that lost one of its keys', () => {
  it.each(others)('delivers everything that is still there: without %s', async (name) => {
    const kept = await fill();
    await under.connection.call('DEL', under.prefix + name);
    expect(await drain()).toEqual(kept);
    const { length } = await append(under.store, [anEvent(), aProfile()]);
    expect(length).toBe(2);
    expect(await drain()).toHaveLength(2);
  });

  it.each(holding)(
    'delivers what the other keys hold, and says what is missing: without %s',
    async (name) => {
      const kept = await fill();
      await under.connection.call('DEL', under.prefix + name);
      await under.session.heartbeat();
      expect(under.reported).toContainEqual(
        expect.stringMatching(/^keys of the buffer are gone \(\w+ has \d envelopes of \d\)/),
      );
      const left = await drain();
      expect(left.length).toBeLessThan(kept.length);
      expect(kept).toEqual(expect.arrayContaining([...left]));
      await append(under.store, [anEvent(), aProfile()]);
      expect(await drain()).toHaveLength(2);
    },
  );

  /** Appends an exact update that waits for an earlier profile of the same person. Returns its id. */
  async function createWaitingUpdate(): Promise<string> {
    const profile = aProfile();
    const update = aDraft('update_profile', { keys: profile.keys });
    const [, id = ''] = await appendIds(under.store, [profile, update]);
    expect(await claim(under.store, {}, 'update_profile')).toEqual([]);
    return id;
  }

  const change = (...words: [string, string, ...string[]]): Promise<unknown> => {
    const [command, name, ...rest] = words;
    return under.connection.call(command, under.prefix + name, ...rest);
  };

  it('delivers what waited for an envelope of another lane that is gone', async () => {
    const id = await createWaitingUpdate();
    await change('XTRIM', ':profiles:queue', 'MAXLEN', '0');
    expect(await drain()).toEqual([id]);
  });

  it('delivers what waits for nothing although each lane is consistent', async () => {
    const id = await createWaitingUpdate();
    await change('XTRIM', ':profiles:queue', 'MAXLEN', '0');
    for (const name of ['count', 'bytes', 'ready', 'readyBytes'])
      await change('HSET', ':profiles:stats', name, '0');
    await under.session.heartbeat();
    expect(under.reported).toContainEqual(
      expect.stringMatching(/^keys of the buffer are gone \(1 envelopes wait for nothing\)/),
    );
    expect(await drain()).toEqual([id]);
  });

  it('never shows less than nothing', async () => {
    await fill();
    for (const lane of lanes) {
      await under.connection.call('HINCRBY', `${under.prefix}:${lane}:stats`, 'count', -100);
      await under.connection.call('HINCRBY', `${under.prefix}:${lane}:stats`, 'letters', -100);
    }
    for (let looks = 0; looks < 2; looks++) {
      await under.session.heartbeat();
      for (const lane of lanes) {
        const { count, bytes, deadLetters } = under.store.depth(lane);
        expect(Math.min(count, bytes, deadLetters)).toBeGreaterThanOrEqual(0);
      }
    }
  });
});
