import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { UnchangedProfiles } from '../../src/delivery/unchanged-profiles.js';
import type { BatchItem } from '../../src/model/envelope.js';
import { toGroupedPayload } from '../../src/model/group.js';
import type { Lane } from '../../src/model/lane.js';
import type { Outcome, Verdict } from '../../src/model/outcome.js';
import {
  ack,
  aDraft,
  anEnvelope,
  aProfile,
  deadLetter,
  delivered,
  pending,
  rejected,
  retry,
  retryable,
  startMs,
  toBytes,
  toTexts,
} from '../support/builders.js';
import { createManualClock } from '../support/manual-clock.js';
import { startEngine, useEngines, type EngineOptions, type Script } from './fixture.js';

const start = useEngines();
const ttlMs = 60_000;
const on: EngineOptions = { overrides: { unchanged: { ttlMs, maxCount: 1000 } } };

const profileOf = (text: string, keys: readonly string[] = ['ea']) => aProfile({ keys, text });

describe('a profile that is equal to the last one of the person', () => {
  const texts = (requests: readonly { texts: readonly string[] }[]): readonly string[] =>
    requests.flatMap((request) => request.texts);

  it('is acknowledged without a request, is counted, and has an entry in the delivery log', async () => {
    const { append, advance, requests, metrics, store } = await start(() => delivered, on);
    await append([profileOf('A')]);
    await advance(1000);
    await append([profileOf('A'), profileOf('B', ['eb'])]);
    await advance(1000);
    expect(texts(requests)).toEqual(['A', 'B']);
    expect((await metrics.profilesUnchanged.get()).values).toMatchObject([{ value: 1 }]);
    const { data } = await store.deliveries({ result: 'unchanged' }, { limit: 10 });
    expect(data).toMatchObject([
      { lane: 'profiles', count: 1, delivered: 1, bytes: 0, status: null, importJob: null },
    ]);
    expect(store.depth('profiles').count).toBe(0);
  });

  it('is sent if PROFILE_UNCHANGED_TTL is 0', async () => {
    const { append, advance, requests } = await start(() => delivered);
    for (let count = 0; count < 2; count++) {
      await append([profileOf('A')]);
      await advance(1000);
    }
    expect(texts(requests)).toEqual(['A', 'A']);
  });

  it('is sent after another profile of the person, and so is that one again', async () => {
    const { append, advance, requests } = await start(() => delivered, on);
    for (const text of ['A', 'B', 'A', 'B', 'B']) {
      await append([profileOf(text)]);
      await advance(1000);
    }
    expect(texts(requests)).toEqual(['A', 'B', 'A', 'B']);
  });

  it('is compared as a whole if it is merged', async () => {
    const { append, advance, requests } = await start(() => delivered, on);
    for (let count = 0; count < 2; count++) {
      await append([profileOf('A'), profileOf('B')]);
      await advance(1000);
    }
    await append([profileOf('B')]);
    await advance(1000);
    expect(texts(requests)).toEqual(['A+B', 'B']);
  });

  it('is sent when the time has passed', async () => {
    const { append, advance, requests } = await start(() => delivered, on);
    await append([profileOf('A')]);
    await advance(ttlMs + 1000);
    await append([profileOf('A')]);
    await advance(2000);
    expect(texts(requests)).toEqual(['A', 'A']);
  });

  it('is sent after a subscription of the person', async () => {
    const { append, advance, requests } = await start(() => delivered, on);
    await append([profileOf('A')]);
    await advance(1000);
    await append([
      aDraft('subscribe', { keys: ['ea'], text: toGroupedPayload('', '"S"', startMs) }),
    ]);
    await advance(1000);
    await append([profileOf('A')]);
    await advance(1000);
    expect(requests.map(({ lane }) => lane)).toEqual(['profiles', 'subscribe', 'profiles']);
  });

  it('is sent if the one before became a dead letter, or if its import job failed', async () => {
    let outcome: Outcome = rejected;
    const { append, advance, requests } = await start(() => outcome, {
      ...on,
      jobs: () => [rejected],
    });
    for (const next of [rejected, pending('job-1'), delivered]) {
      outcome = next;
      await append([profileOf('A')]);
      await advance(5000);
    }
    expect(texts(requests)).toEqual(['A', 'A', 'A']);
  });
});

describe('the memory of delivered profiles', () => {
  const createMemory = (maxCount = 1000) => {
    const clock = createManualClock();
    const merge = (payloads: readonly Uint8Array[]) => toBytes(toTexts(payloads).join('+'));
    const memory = new UnchangedProfiles({ ttlMs, maxCount, clock, destination: { merge } });
    const isUnchanged = (item: BatchItem): boolean => memory.select('profiles', [item]).length > 0;
    const send = (item: BatchItem, lane: Lane = 'profiles'): void =>
      memory.noteRequest(lane, [item], [item[0].payload]);
    const end = (item: BatchItem, verdict: Verdict = ack, isConfirmed = true): void =>
      memory.noteVerdicts(
        [item],
        item.map((envelope) => ({ envelope, verdict })),
        isConfirmed,
      );
    return { clock, memory, isUnchanged, send, end };
  };
  let made = 0;
  const one = (text: string, ...keys: string[]): BatchItem => [
    anEnvelope({ lane: 'profiles', keys, text, id: `pr_${made++}` }),
  ];

  it('needs each identity key to be delivered last with the same payload', () => {
    const { send, end, isUnchanged } = createMemory();
    const both = one('A', 'ea', 'x1');
    send(both);
    expect(isUnchanged(one('A', 'ea', 'x1'))).toBe(false);
    end(both);
    expect(isUnchanged(one('A', 'ea', 'x1'))).toBe(true);
    expect(isUnchanged(one('A', 'ea', 'x2'))).toBe(false);
    const other = one('B', 'x1');
    send(other);
    end(other);
    expect(isUnchanged(one('A', 'ea', 'x1'))).toBe(false);
  });

  it('begins when the import job is confirmed', () => {
    const { send, end, isUnchanged } = createMemory();
    const item = one('A', 'ea');
    send(item);
    end(item, { kind: 'poll', ref: 'job-1' });
    expect(isUnchanged(one('A', 'ea'))).toBe(false);
    end(item, ack, false);
    expect(isUnchanged(one('A', 'ea'))).toBe(false);
    send(item);
    end(item);
    expect(isUnchanged(one('A', 'ea'))).toBe(true);
  });

  it('ends when another request of the person leaves, whatever becomes of it', () => {
    const { send, end, isUnchanged, memory } = createMemory();
    for (const verdict of [retry(5), deadLetter()]) {
      const item = one('A', 'ea');
      send(item);
      end(item);
      const other = one('B', 'ea');
      send(other);
      end(other, verdict);
      expect(isUnchanged(one('A', 'ea'))).toBe(false);
    }
    expect(memory.size).toBe(0);
  });

  it('does not begin if another lane sent something of the person meanwhile', () => {
    const { send, end, isUnchanged } = createMemory();
    const item = one('A', 'ea');
    send(item);
    send(one('S', 'ea'), 'subscribe');
    end(item);
    expect(isUnchanged(one('A', 'ea'))).toBe(false);
  });

  it('ends for everybody when an erasure leaves, because it may name another identifier of the person', () => {
    const { send, end, isUnchanged } = createMemory();
    const item = one('A', 'x1');
    send(item);
    end(item);
    const inFlight = one('B', 'x2');
    send(inFlight);
    send(one('E', 'ea'), 'erase');
    end(inFlight);
    expect(isUnchanged(one('A', 'x1'))).toBe(false);
    expect(isUnchanged(one('B', 'x2'))).toBe(false);
  });

  it('has a bound, and drops the oldest first', async () => {
    const { send, end, isUnchanged, memory, clock } = createMemory(2);
    for (const key of ['ea', 'eb', 'ec']) {
      const item = one('A', key);
      send(item);
      end(item);
    }
    expect(['ea', 'eb', 'ec'].map((key) => isUnchanged(one('A', key)))).toEqual([
      false,
      true,
      true,
    ]);
    expect(memory.size).toBe(2);
    await clock.advance(ttlMs);
    const item = one('B', 'ed');
    send(item);
    end(item);
    expect(memory.size).toBe(1);
  });
});

type Fields = Readonly<Record<string, unknown>>;

const aStep = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      kind: fc.constant('post' as const),
      person: fc.constantFrom('1', '2'),
      hasId: fc.boolean(),
      fields: fc.constantFrom<Fields[]>({ a: 1 }, { a: 2 }, { b: 1 }, { a: 1, b: 2 }),
      isBad: fc.boolean(),
      waitMs: fc.constantFrom(0, 0, 200, 1500, 5000),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant('subscribe' as const),
      person: fc.constantFrom('1', '2'),
    }),
  },
);

describe('the state at Klaviyo', () => {
  it('is the same as if each profile had been sent, over random posts, failures and retries', async () => {
    let unchanged = 0;
    const fates = fc
      .array(fc.constantFrom('ok', 'ok', 'job', 'lost', 'late'), { maxLength: 6 })
      .map((some) => [...some, 'ok', 'job']);
    await fc.assert(
      fc.asyncProperty(
        fc.array(aStep, { minLength: 5, maxLength: 25, size: 'max' }),
        fates,
        async (steps, plan) => {
          const state = new Map<string, Fields>();
          const expected = new Map<string, Fields>();
          const write = (into: Map<string, Fields>, person: string, fields: Fields): void =>
            void into.set(person, { ...into.get(person), ...fields });
          const script: Script = (text, { lane }, number) => {
            const parts = (lane === 'profiles' ? text.split('+') : [readItem(text)]).map(
              (part) => JSON.parse(part) as { person: string; isBad: boolean; fields: Fields },
            );
            if (parts.some(({ isBad }) => isBad)) return rejected;
            const fate = plan[number % plan.length];
            if (fate === 'lost') return retryable();
            for (const { person, fields } of parts) write(state, person, fields);
            if (fate === 'late') return retryable();
            return fate === 'job' && lane === 'profiles' ? pending(`job-${number}`) : delivered;
          };
          const under = await startEngine(script, {
            ...on,
            jobs: ({ texts }, number) => (number % 2 === 1 ? null : texts.map(() => delivered)),
          });
          for (const step of steps) {
            const { person } = step;
            if (step.kind === 'subscribe') {
              // A profile does not wait for an earlier subscription, so nothing else may be under way.
              await under.advance(30_000);
              const fields = { a: 's' };
              const element = JSON.stringify({ person, isBad: false, fields });
              const text = toGroupedPayload('', element, startMs);
              await under.append([aDraft('subscribe', { keys: [`e${person}`], text })]);
              await under.advance(30_000);
              write(expected, person, fields);
              continue;
            }
            const { fields, hasId, isBad, waitMs } = step;
            const bad = isBad && fields.b === 1;
            const keys = hasId ? [`e${person}`, `x${person}`] : [`e${person}`];
            const text = JSON.stringify({ person, isBad: bad, fields });
            await under.append([aProfile({ keys, text })]);
            if (!bad) write(expected, person, fields);
            await under.advance(waitMs);
          }
          await under.advance(60_000);
          expect(under.fatalErrors).toEqual([]);
          expect(state).toEqual(expected);
          const { values } = await under.metrics.profilesUnchanged.get();
          unchanged += values[0]?.value ?? 0;
          await under.stop();
          await under.store.close();
        },
      ),
      { numRuns: 15 },
    );
    expect(unchanged).toBeGreaterThan(0);
  });
});

const readItem = (text: string): string => /"item":(.*)\}$/.exec(text)?.[1] ?? '';
