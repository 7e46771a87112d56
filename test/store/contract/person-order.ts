import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { BatchItem, Draft } from '../../../src/model/envelope.js';
import { toGroupedPayload } from '../../../src/model/group.js';
import { laneTraits, type StoreLane } from '../../../src/model/lane.js';
import {
  ack,
  aDraft,
  aProfile,
  deadLetter,
  retry,
  settledAs,
  startMs,
  toText,
} from '../../support/builders.js';
import { append, claim, type Open, type OpenStore, wideBounds } from './harness.js';

const orderedLanes = [
  'profiles',
  'update_profile',
  'add_to_list',
  'remove_from_list',
  'subscribe',
  'unsubscribe',
  'suppress',
  'unsuppress',
] as const;
type OrderedLane = (typeof orderedLanes)[number];
type GroupedLane = 'subscribe' | 'unsubscribe' | 'add_to_list' | 'remove_from_list';

/** A draft whose element is the text `name`. */
const aGroupedDraft = (
  lane: GroupedLane,
  { keys, name = 'n', group = '' }: { keys?: readonly string[]; name?: string; group?: string },
): Draft =>
  aDraft(lane, {
    ...(keys !== undefined && { keys }),
    text: toGroupedPayload(group, `"${name}"`, startMs),
  });

const aSubscription = (draft: Parameters<typeof aGroupedDraft>[1]): Draft =>
  aGroupedDraft('subscribe', draft);
const anUnsubscription = (draft: Parameters<typeof aGroupedDraft>[1]): Draft =>
  aGroupedDraft('unsubscribe', draft);

const isGrouped = (lane: OrderedLane): lane is GroupedLane => laneTraits[lane].isGrouped === true;

/** A draft of a lane, in the group `group` if the lane has groups. */
const aDraftOf = (
  lane: OrderedLane,
  { keys, group = '' }: { keys: readonly string[]; group?: string },
): Draft => {
  if (lane === 'profiles') return aProfile({ keys });
  return isGrouped(lane) ? aGroupedDraft(lane, { keys, group }) : aDraft(lane, { keys });
};

/** The names of the claimed drafts. */
const toNames = (items: readonly BatchItem[]): readonly string[] =>
  items.flatMap((item) => item.map((each) => /"([^"]*)"\}$/.exec(toText(each))?.[1] ?? ''));

export function describePersonOrder(open: Open): void {
  describe('an envelope that follows one of another lane', () => {
    it('waits until the profile of the same person is settled', async () => {
      const { store } = await open();
      await append(store, [aProfile({ keys: ['ea'] }), aProfile({ keys: ['eb'] })]);
      await append(store, [
        aSubscription({ keys: ['ea', 'p1'], name: 'waits' }),
        aSubscription({ keys: ['ec'], name: 'leaves' }),
      ]);
      expect(toNames(await claim(store, {}, 'subscribe'))).toEqual(['leaves']);
      const items = await claim(store, {}, 'profiles');
      expect(await claim(store, {}, 'subscribe')).toEqual([]);
      expect(store.claimable('subscribe').count).toBe(0);
      await store.settle({ lane: 'profiles', settled: settledAs(items, ack) });
      expect(store.claimable('subscribe').count).toBe(1);
      expect(toNames(await claim(store, {}, 'subscribe'))).toEqual(['waits']);
    });

    it('makes the store announce that it can be claimed', async () => {
      const { store } = await open();
      await append(store, [aProfile({ keys: ['ea'] }), aSubscription({ keys: ['ea'] })]);
      expect(await claim(store, {}, 'subscribe')).toEqual([]);
      const announced: StoreLane[] = [];
      store.onClaimable((lane) => announced.push(lane));
      const items = await claim(store, {}, 'profiles');
      await store.settle({ lane: 'profiles', settled: settledAs(items, ack) });
      expect(announced).toContain('subscribe');
    });

    it('does not wait for a profile that was accepted after it', async () => {
      const { store } = await open();
      await append(store, [aSubscription({ keys: ['ea'], name: 'first' })]);
      await append(store, [aProfile({ keys: ['ea'] })]);
      expect(toNames(await claim(store, {}, 'subscribe'))).toEqual(['first']);
      expect(await claim(store, {}, 'profiles')).toHaveLength(1);
    });

    it('waits while the profile is delayed, and leaves when that becomes a dead letter', async () => {
      const { store, clock } = await open();
      await append(store, [aProfile({ keys: ['ea'] }), aSubscription({ keys: ['ea'] })]);
      const items = await claim(store, {}, 'profiles');
      await store.settle({ lane: 'profiles', settled: settledAs(items, retry(1000)) });
      expect(await claim(store, {}, 'subscribe')).toEqual([]);
      await clock.advance(1000);
      const again = await claim(store, {}, 'profiles');
      expect(await claim(store, {}, 'subscribe')).toEqual([]);
      await store.settle({ lane: 'profiles', settled: settledAs(again, deadLetter()) });
      expect(await claim(store, {}, 'subscribe')).toHaveLength(1);
    });

    it('waits for each of several profiles of the person', async () => {
      const { store } = await open();
      const profiles = ['ea', 'x1', 'ea'].map((key) => aProfile({ keys: [key] }));
      await append(store, [...profiles, aSubscription({ keys: ['ea', 'x1'] })]);
      for (let left = 3; left > 0; left--) {
        expect(await claim(store, {}, 'subscribe')).toEqual([]);
        const items = await claim(store, { maxCount: 1 }, 'profiles');
        expect(items).toHaveLength(1);
        await store.settle({ lane: 'profiles', settled: settledAs(items, ack) });
      }
      expect(await claim(store, {}, 'subscribe')).toHaveLength(1);
    });

    it('leaves after the subscription that it revokes, and before the next one', async () => {
      const { store } = await open();
      const keys = ['ea'];
      await append(store, [aSubscription({ keys, name: 'first' })]);
      await append(store, [anUnsubscription({ keys, name: 'second' })]);
      await append(store, [aSubscription({ keys, name: 'third' })]);
      const order: string[] = [];
      for (const expected of ['subscribe', 'unsubscribe', 'subscribe'] as const) {
        const other = expected === 'subscribe' ? 'unsubscribe' : 'subscribe';
        expect(await claim(store, {}, other)).toEqual([]);
        const items = await claim(store, {}, expected);
        expect(await claim(store, {}, other)).toEqual([]);
        order.push(...toNames(items));
        await store.settle({ lane: expected, settled: settledAs(items, ack) });
      }
      expect(order).toEqual(['first', 'second', 'third']);
    });

    it('leaves after the subscription, if it suppresses, and before the next subscription', async () => {
      const { store } = await open();
      const keys = ['ea'];
      const lanes = ['subscribe', 'suppress', 'unsuppress', 'suppress', 'subscribe'] as const;
      for (const lane of lanes) await append(store, [aDraftOf(lane, { keys })]);
      const order: StoreLane[] = [];
      for (const expected of lanes) {
        for (const other of ['subscribe', 'suppress', 'unsuppress'] as const) {
          if (other !== expected) expect(await claim(store, {}, other)).toEqual([]);
        }
        const items = await claim(store, {}, expected);
        expect(items).toHaveLength(1);
        order.push(expected);
        await store.settle({ lane: expected, settled: settledAs(items, ack) });
      }
      expect(order).toEqual(lanes);
    });

    it('does not wait for what has no effect on it', async () => {
      const { store } = await open();
      const keys = ['ea'];
      await append(store, [aProfile({ keys }), anUnsubscription({ keys })]);
      await append(store, [aDraftOf('suppress', { keys })]);
      expect(await claim(store, {}, 'suppress')).toHaveLength(1);
    });

    it('still waits after a crash', async () => {
      const under = await open();
      if (under.crash === undefined) return;
      await append(under.store, [aProfile({ keys: ['ea'] })]);
      await append(under.store, [
        aSubscription({ keys: ['ea'], name: 'waits' }),
        aSubscription({ keys: ['eb'], name: 'leaves' }),
      ]);
      await under.crash();
      const { store } = under;
      const items = await claim(store, {}, 'profiles');
      expect(toNames(await claim(store, {}, 'subscribe'))).toEqual(['leaves']);
      await store.settle({ lane: 'profiles', settled: settledAs(items, ack) });
      expect(toNames(await claim(store, {}, 'subscribe'))).toEqual(['waits']);
    });
  });

  describe('a claim of a lane with groups', () => {
    it('has envelopes of one group, those of the oldest first', async () => {
      const { store } = await open();
      const groups = ['A', 'B', 'A', 'B', 'C'];
      await append(
        store,
        groups.map((group, index) => aSubscription({ group, name: `${group}${index}` })),
      );
      for (const names of [['A0', 'A2'], ['B1', 'B3'], ['C4'], []]) {
        expect(toNames(await claim(store, {}, 'subscribe'))).toEqual(names);
      }
    });

    it('counts the envelopes of other groups as claimable', async () => {
      const { store } = await open();
      await append(store, [aSubscription({ group: 'A' }), aSubscription({ group: 'B' })]);
      await claim(store, {}, 'subscribe');
      expect(store.claimable('subscribe').count).toBe(1);
      expect(store.claimable('subscribe').bytes).toBeGreaterThan(0);
      await claim(store, {}, 'subscribe');
      expect(store.claimable('subscribe')).toMatchObject({ count: 0, bytes: 0 });
    });

    it('lets no envelope overtake an earlier one of the same person in another group', async () => {
      const { store } = await open();
      await append(store, [
        aSubscription({ keys: ['ea'], group: 'A', name: 'a1' }),
        aSubscription({ keys: ['eb'], group: 'B', name: 'b1' }),
        aSubscription({ keys: ['eb'], group: 'A', name: 'b2' }),
        aSubscription({ keys: ['ec'], group: 'A', name: 'c1' }),
      ]);
      const first = await claim(store, {}, 'subscribe');
      expect(toNames(first)).toEqual(['a1', 'c1']);
      const second = await claim(store, {}, 'subscribe');
      expect(toNames(second)).toEqual(['b1']);
      await store.settle({ lane: 'subscribe', settled: settledAs(second, ack) });
      expect(toNames(await claim(store, {}, 'subscribe'))).toEqual(['b2']);
    });

    it('continues with the same groups after a retry', async () => {
      const { store, clock } = await open();
      await append(store, [
        aSubscription({ group: 'A', name: 'a' }),
        aSubscription({ group: 'B', name: 'b' }),
      ]);
      const items = await claim(store, {}, 'subscribe');
      await store.settle({ lane: 'subscribe', settled: settledAs(items, retry(10)) });
      await clock.advance(10);
      expect(toNames(await claim(store, {}, 'subscribe'))).toEqual(['a']);
      expect(toNames(await claim(store, {}, 'subscribe'))).toEqual(['b']);
    });
  });
}

const people = [['e1'], ['e2'], ['e1', 'p1'], ['p1'], ['e2', 'p1']] as const;
const aStep = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      kind: fc.constant('append' as const),
      drafts: fc.array(
        fc.record({
          lane: fc.constantFrom(...orderedLanes),
          keys: fc.constantFrom(...people),
          group: fc.constantFrom('A', 'B'),
        }),
        { minLength: 1, maxLength: 4 },
      ),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant('claim' as const),
      lane: fc.constantFrom(...orderedLanes),
      maxCount: fc.integer({ min: 1, max: 3 }),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant('settle' as const),
      nth: fc.nat(5),
      verdict: fc.constantFrom(ack, deadLetter(), retry(5)),
    }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('advance' as const), ms: fc.nat(10) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('redrive' as const) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('crash' as const) }) },
);

/** Holds the order over random interleavings, and shows that everything leaves in the end. */
export function describePersonOrderProperty(openStore: OpenStore, numRuns: number): void {
  it('keeps the order of each person across lanes, and lets every envelope leave', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(aStep, { maxLength: 40, size: 'max' }), async (steps) => {
        const under = await openStore(wideBounds);
        /** Unsettled envelopes by id, in the order of acceptance. */
        const unsettled = new Map<string, { lane: OrderedLane; keys: readonly string[] }>();
        const deadLetters = new Map<string, { lane: OrderedLane; keys: readonly string[] }>();
        let inFlight: { lane: OrderedLane; items: readonly BatchItem[] }[] = [];
        const accepted: string[] = [];
        const isEarlier = (one: string, other: string): boolean =>
          accepted.indexOf(one) < accepted.indexOf(other);

        const claimFrom = async (lane: OrderedLane, maxCount: number): Promise<number> => {
          const items = await claim(under.store, { maxCount }, lane);
          const ids = items.flatMap((item) => item.map(({ id }) => id));
          const after: readonly string[] = laneTraits[lane].after ?? [];
          for (const { id, keys } of items.flat()) {
            for (const [other, { lane: otherLane, keys: otherKeys }] of unsettled) {
              const mustWait = after.includes(otherLane) || otherLane === lane;
              const shares = otherKeys.some((key) => keys.includes(key));
              if (!mustWait || !shares || !isEarlier(other, id)) continue;
              // Profiles of one claim are merged, which keeps their order.
              expect(otherLane === lane && ids.includes(other), `${id} overtook ${other}`).toBe(
                true,
              );
            }
          }
          if (items.length > 0) inFlight.push({ lane, items });
          return items.length;
        };
        const settle = async (
          { lane, items }: { lane: OrderedLane; items: readonly BatchItem[] },
          verdict: typeof ack,
        ): Promise<void> => {
          for (const { id } of items.flat()) {
            const known = unsettled.get(id);
            if (verdict.kind === 'retry' || known === undefined) continue;
            unsettled.delete(id);
            if (verdict.kind === 'dead-letter') deadLetters.set(id, known);
          }
          await under.store.settle({ lane, settled: settledAs(items, verdict) });
        };

        for (const step of steps) {
          switch (step.kind) {
            case 'append': {
              const drafts = step.drafts.map(({ lane, keys, group }) =>
                aDraftOf(lane, { keys, group }),
              );
              const envelopes = await append(under.store, drafts);
              envelopes.forEach(({ id }, index) => {
                const { lane, keys } = step.drafts[index] ?? { lane: 'profiles', keys: [] };
                unsettled.set(id, { lane, keys });
                accepted.push(id);
              });
              break;
            }
            case 'claim':
              await claimFrom(step.lane, step.maxCount);
              break;
            case 'settle': {
              const [settled] = inFlight.splice(step.nth, 1);
              if (settled !== undefined) await settle(settled, step.verdict);
              break;
            }
            case 'advance':
              await under.clock.advance(step.ms);
              break;
            case 'redrive':
              await under.store.redrive({}, { dryRun: false });
              for (const [id, known] of deadLetters) unsettled.set(id, known);
              deadLetters.clear();
              break;
            case 'crash':
              if (under.crash !== undefined) {
                await under.crash();
                inFlight = [];
              }
          }
        }
        for (const each of inFlight.splice(0)) await settle(each, ack);
        await under.clock.advance(10);
        for (let rounds = 0; unsettled.size > 0 && rounds < 1000; rounds++) {
          for (const lane of orderedLanes) await claimFrom(lane, 1000);
          for (const each of inFlight.splice(0)) await settle(each, ack);
        }
        expect([...unsettled.keys()]).toEqual([]);
        await under.close();
      }),
      { numRuns },
    );
  });
}
