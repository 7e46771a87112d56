import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { hashIdentifiers } from '../../../src/identity-keys.js';
import type { BatchItem, Draft, Envelope } from '../../../src/model/envelope.js';
import type { StoreLane } from '../../../src/model/lane.js';
import type { HeldOfPerson, PersonQuery, Store } from '../../../src/model/store.js';
import { toGroupedPayload } from '../../../src/model/group.js';
import {
  ack,
  aDraft,
  aProfile,
  deadLetter,
  retry,
  settledAs,
  startMs,
} from '../../support/builders.js';
import {
  append,
  appendIds,
  claim,
  expectBalanced,
  settleAll,
  type Open,
  type OpenStore,
  wideBounds,
} from './harness.js';

const ada = 'Ada@klaviyo-demo.com';
const bob = 'bob@klaviyo-demo.com';

const toKey = (email: string): string => hashIdentifiers({ email })[0] ?? '';
const queryOf = (email: string): PersonQuery => ({ key: toKey(email), value: email });

/** An event as it is stored: its keys are not those of its person. */
function anEventOf(email: string, key = `e${email}${Math.random()}`): Draft {
  const profile = { data: { type: 'profile', attributes: { email } } };
  const text = JSON.stringify({ type: 'event-bulk-create', attributes: { profile } });
  return aDraft('events', { text, keys: [key.replaceAll(/\W/g, '')] });
}

const aProfileOf = (...emails: readonly string[]): Draft => aProfile({ keys: emails.map(toKey) });

const aSubscriptionOf = (email: string): Draft =>
  aDraft('subscribe', { keys: [toKey(email)], text: toGroupedPayload('', '"s"', startMs) });

function anErasureOf(email: string): Draft {
  const text = JSON.stringify({ type: 'profile', attributes: { email } });
  return aDraft('erase', { keys: [toKey(email)], text });
}

const isRemovable = ({ lane, state }: HeldOfPerson['envelopes'][number]): boolean =>
  state === 'buffered' || lane === 'waiting';

/** What the relay does at each claim of an erasure. Returns the number of envelopes that must end first. */
async function removeBefore(store: Store, erasure: Envelope, person: PersonQuery): Promise<number> {
  const held = await store.findPerson(person, erasure);
  await store.erase({ ...held, envelopes: held.envelopes.filter(isRemovable) });
  return held.envelopes.filter((each) => !isRemovable(each)).length;
}

async function claimErasure(store: Store): Promise<readonly [BatchItem, Envelope]> {
  const [item] = await claim(store, { maxCount: 1 }, 'erase');
  if (item === undefined) throw new Error('there is no erasure to claim');
  return [item, item[0]];
}

const toIds = (items: readonly BatchItem[]): readonly string[] =>
  items.flatMap((item) => item.map(({ id }) => id));

export function describeErasure(open: Open): void {
  describe('an unsettled erasure', () => {
    it('blocks its person in all other lanes, and nobody else', async () => {
      const { store } = await open();
      await append(store, [anErasureOf(ada)]);
      const lanes = ['events', 'profiles', 'subscribe'] as const;
      const toDrafts = (email: string): readonly Draft[] => [
        anEventOf(email),
        aProfileOf(email),
        aSubscriptionOf(email),
      ];
      await append(store, toDrafts(ada.toLowerCase()));
      const others = await appendIds(store, [anEventOf(bob), aProfileOf(bob)]);
      const claimed: string[] = [];
      for (const lane of lanes) claimed.push(...toIds(await claim(store, {}, lane)));
      expect(claimed).toEqual(others);
      const [item] = await claimErasure(store);
      for (const lane of lanes) expect(await claim(store, {}, lane)).toEqual([]);
      await store.settle({ lane: 'erase', settled: settledAs([item], ack) });
      expect(await claim(store)).toHaveLength(1);
      const profiles = await claim(store, {}, 'profiles');
      expect(profiles).toHaveLength(1);
      expect(await claim(store, {}, 'subscribe')).toEqual([]);
      await store.settle({ lane: 'profiles', settled: settledAs(profiles, ack) });
      expect(await claim(store, {}, 'subscribe')).toHaveLength(1);
    });

    it('blocks what was accepted before it', async () => {
      const { store } = await open();
      await append(store, [anEventOf(ada), aProfileOf(ada)]);
      await append(store, [anErasureOf(ada)]);
      expect(await claim(store)).toEqual([]);
      expect(await claim(store, {}, 'profiles')).toEqual([]);
    });

    it('blocks an address beyond ASCII, whatever its case', async () => {
      const { store } = await open();
      await append(store, [anErasureOf('Zoë@klaviyo-demo.com'), anEventOf('ZOË@klaviyo-demo.com')]);
      expect(await claim(store)).toEqual([]);
      const [item] = await claimErasure(store);
      await store.settle({ lane: 'erase', settled: settledAs([item], ack) });
      expect(await claim(store)).toHaveLength(1);
    });

    it('blocks until the last one of the person is settled, and none of them waits forever', async () => {
      const { store } = await open();
      await append(store, [anErasureOf(ada), anErasureOf(ada), anEventOf(ada)]);
      for (let left = 2; left > 0; left--) {
        expect(await claim(store)).toEqual([]);
        const [item] = await claimErasure(store);
        expect(await claim(store, {}, 'erase')).toEqual([]);
        await store.settle({ lane: 'erase', settled: settledAs([item], ack) });
      }
      expect(await claim(store)).toHaveLength(1);
    });

    it('still blocks after a crash', async () => {
      const under = await open();
      if (under.crash === undefined) return;
      await append(under.store, [anEventOf(ada), aProfileOf(ada)]);
      await append(under.store, [anErasureOf(ada)]);
      await under.crash();
      expect(await claim(under.store)).toEqual([]);
      expect(await claim(under.store, {}, 'profiles')).toEqual([]);
      expect(await claim(under.store, {}, 'erase')).toHaveLength(1);
    });

    it('blocks what is redriven', async () => {
      const { store } = await open();
      await append(store, [anEventOf(ada)]);
      await settleAll(store, { lane: 'events', verdict: deadLetter() });
      await append(store, [anErasureOf(ada)]);
      await store.redrive({}, { dryRun: false });
      expect(await claim(store)).toEqual([]);
    });
  });

  describe('the removal of a person', () => {
    it('removes envelopes in each state, dead letters and facts, and keeps those of others', async () => {
      const { store } = await open();
      const ofAda = (): readonly Draft[] => [anEventOf(ada), aProfileOf(ada), aSubscriptionOf(ada)];
      // Dead letters.
      await append(store, ofAda());
      for (const lane of ['events', 'profiles'] as const) {
        await settleAll(store, { lane, verdict: deadLetter() });
      }
      // Delayed, and waiting for a delayed one.
      await append(store, [aProfileOf(ada), anEventOf(ada)]);
      await settleAll(store, { lane: 'events', verdict: retry(60_000) });
      await settleAll(store, { lane: 'profiles', verdict: retry(60_000) });
      await append(store, [aProfileOf(ada), anEventOf(ada)]);
      expect(await claim(store, {}, 'profiles')).toEqual([]);
      await append(store, [anEventOf(bob), aProfileOf(bob, ada)]);
      const waiting = JSON.stringify({ entries: [{ entry: { properties: { email: ada } } }] });
      await append(store, [aDraft('waiting', { keys: [], text: waiting })]);
      await claim(store, {}, 'waiting');
      await store.putFacts([
        { kind: 'order', key: 'of-ada', value: JSON.stringify({ email: ada }) },
        { kind: 'device', key: 'owner', value: JSON.stringify({ owner: { email: ada } }) },
        { kind: 'consent', key: 'withdrawn', value: `1 ${toKey(ada)}` },
        { kind: 'order', key: 'of-bob', value: JSON.stringify({ email: bob }) },
      ]);
      await append(store, [anErasureOf(ada)]);
      const [item, erasure] = await claimErasure(store);
      expect(await removeBefore(store, erasure, queryOf(ada))).toBe(0);
      const nothing = { envelopes: [], deadLetters: [], facts: [] };
      expect(await store.findPerson(queryOf(ada), erasure)).toEqual(nothing);
      expect(await store.getFacts(['of-ada', 'owner', 'withdrawn', 'of-bob'])).toEqual([
        null,
        null,
        null,
        JSON.stringify({ email: bob }),
      ]);
      expect(store.depth('events')).toMatchObject({ count: 1, deadLetters: 0 });
      expect(store.depth('profiles')).toMatchObject({ count: 0, bytes: 0, deadLetters: 0 });
      expect(store.depth('subscribe').count).toBe(0);
      expect(store.depth('waiting').count).toBe(0);
      expect(store.claimable('profiles').count).toBe(0);
      expect(store.claimable('subscribe').count).toBe(0);
      expectBalanced(store);
      await store.settle({ lane: 'erase', settled: settledAs([item], ack) });
      expect(await claim(store)).toHaveLength(1);
      expectBalanced(store);
    });

    it('leaves what is in flight, and removes it once it has come back', async () => {
      const { store, clock } = await open();
      await append(store, [anEventOf(ada), aProfileOf(ada)]);
      const events = await claim(store);
      const profiles = await claim(store, {}, 'profiles');
      await append(store, [anErasureOf(ada)]);
      const [item, erasure] = await claimErasure(store);
      expect(await removeBefore(store, erasure, queryOf(ada))).toBe(2);
      await store.settle({ lane: 'erase', settled: settledAs([item], retry(10)) });
      await store.settle({ lane: 'events', settled: settledAs(events, ack) });
      await store.settle({ lane: 'profiles', settled: settledAs(profiles, retry(1)) });
      await clock.advance(10);
      expect(await claim(store, {}, 'profiles')).toEqual([]);
      const [, again] = await claimErasure(store);
      expect(await removeBefore(store, again, queryOf(ada))).toBe(0);
      expect(store.depth('profiles').count).toBe(0);
      expectBalanced(store);
    });

    it('keeps what was accepted after the erasure, also within the same millisecond', async () => {
      const { store } = await open();
      await append(store, [anEventOf(ada)]);
      await append(store, [anErasureOf(ada)]);
      const later = await appendIds(store, [anEventOf(ada), aProfileOf(ada)]);
      const [item, erasure] = await claimErasure(store);
      expect(await removeBefore(store, erasure, queryOf(ada))).toBe(0);
      await store.settle({ lane: 'erase', settled: settledAs([item], ack) });
      const sent = [...(await claim(store)), ...(await claim(store, {}, 'profiles'))];
      expect(toIds(sent)).toEqual(later);
    });

    it('is repeated after a crash before the request', async () => {
      const under = await open();
      if (under.crash === undefined) return;
      await append(under.store, [anEventOf(ada), aProfileOf(ada), anEventOf(bob)]);
      await append(under.store, [anErasureOf(ada)]);
      const [, erasure] = await claimErasure(under.store);
      await removeBefore(under.store, erasure, queryOf(ada));
      await under.crash();
      const { store } = under;
      expect(await store.findPerson({ key: toKey(ada) })).toMatchObject({
        envelopes: [{ lane: 'erase' }],
      });
      const [item, again] = await claimErasure(store);
      expect(await removeBefore(store, again, queryOf(ada))).toBe(0);
      await store.settle({ lane: 'erase', settled: settledAs([item], ack) });
      expect(await claim(store)).toHaveLength(1);
      expect(store.depth('events').count).toBe(1);
      expectBalanced(store);
    });

    it('finds by the hash alone, and says where each thing is', async () => {
      const { store } = await open();
      await append(store, [anEventOf(ada)]);
      await settleAll(store, { lane: 'events', verdict: deadLetter('invalid') });
      const [profile, event] = await appendIds(store, [aProfileOf(ada), anEventOf(ada)]);
      await claim(store, {}, 'profiles');
      await store.putFacts([{ kind: 'user', key: 'u', value: JSON.stringify({ email: ada }) }]);
      const held = await store.findPerson({ key: toKey(ada) });
      expect([...held.envelopes].sort((a, b) => (a.id < b.id ? -1 : 1))).toEqual([
        { id: event, lane: 'events', state: 'buffered', acceptedAt: startMs },
        { id: profile, lane: 'profiles', state: 'in_flight', acceptedAt: startMs },
      ]);
      expect(held.deadLetters).toMatchObject([{ lane: 'events', code: 'invalid' }]);
      expect(held.facts).toEqual([{ kind: 'user', key: 'u' }]);
    });
  });
}

const addresses = [ada, bob] as const;
const lanesOfPerson = ['events', 'profiles', 'subscribe'] as const;
const allLanes = [...lanesOfPerson, 'erase'] as const;

const toDraft: Readonly<Record<(typeof allLanes)[number], (email: string) => Draft>> = {
  events: (email) => anEventOf(email),
  profiles: (email) => aProfileOf(email),
  subscribe: aSubscriptionOf,
  erase: anErasureOf,
};

const aStep = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant('append' as const),
      lane: fc.constantFrom(...lanesOfPerson),
      email: fc.constantFrom(...addresses),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant('append' as const),
      lane: fc.constant('erase' as const),
      email: fc.constantFrom(...addresses),
    }),
  },
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant('claim' as const),
      lane: fc.constantFrom(...allLanes),
    }),
  },
  {
    weight: 5,
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

/** One accepted envelope, in the order of acceptance. */
type Known = {
  readonly id: string;
  readonly lane: StoreLane;
  readonly email: string;
  state: 'unsettled' | 'sent' | 'dead' | 'erased';
};

/** Holds what an erasure promises, over random interleavings with crashes. */
export function describeErasureProperty(openStore: OpenStore, numRuns: number): void {
  it('sends nothing of a person after an erasure that was accepted before it, and loses nothing else', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(aStep, { maxLength: 40, size: 'max' }), async (steps) => {
        const under = await openStore(wideBounds);
        const accepted: Known[] = [];
        const find = (id: string): Known => {
          const known = accepted.find((each) => each.id === id);
          if (known === undefined) throw new Error(`${id} was never accepted`);
          return known;
        };
        let inFlight: { lane: StoreLane; items: readonly BatchItem[] }[] = [];

        /** An erasure counts as sent when it is acknowledged. */
        const expectAllowed = (id: string): void => {
          const at = accepted.findIndex((each) => each.id === id);
          const { email } = find(id);
          accepted.forEach((erasure, index) => {
            if (erasure.lane !== 'erase' || erasure.email !== email) return;
            expect(erasure.state, `${id} overtakes ${erasure.id}`).not.toBe('unsettled');
            if (index > at) expect(erasure.state, `${id} follows ${erasure.id}`).not.toBe('sent');
          });
        };

        const claimFrom = async (lane: StoreLane): Promise<void> => {
          const { store } = under;
          const items = await claim(store, { maxCount: lane === 'erase' ? 1 : 3 }, lane);
          if (items.length === 0) return;
          const [first] = items;
          if (lane !== 'erase' || first === undefined) {
            for (const id of toIds(items)) expectAllowed(id);
            inFlight.push({ lane, items });
            return;
          }
          const [erasure] = first;
          const { email } = find(erasure.id);
          const held = await store.findPerson(queryOf(email), erasure);
          const removable = held.envelopes.filter(isRemovable);
          await store.erase({ ...held, envelopes: removable });
          for (const { id } of [...removable, ...held.deadLetters]) {
            const isBefore = accepted.indexOf(find(id)) < accepted.indexOf(find(erasure.id));
            expect(isBefore, `${id} was accepted after ${erasure.id}`).toBe(true);
            find(id).state = 'erased';
          }
          const ofPerson = accepted.slice(0, accepted.indexOf(find(erasure.id)));
          const left = ofPerson.filter(
            (each) => each.lane !== 'erase' && each.email === email && each.state === 'unsettled',
          );
          expect(held.envelopes.length - removable.length).toBe(left.length);
          if (left.length === 0) inFlight.push({ lane, items });
          else await store.settle({ lane, settled: settledAs(items, retry(1)) });
        };
        const settle = async (
          { lane, items }: { lane: StoreLane; items: readonly BatchItem[] },
          verdict: typeof ack,
        ): Promise<void> => {
          await under.store.settle({ lane, settled: settledAs(items, verdict) });
          for (const id of toIds(items)) {
            if (verdict.kind === 'ack') find(id).state = 'sent';
            if (verdict.kind === 'dead-letter') find(id).state = 'dead';
          }
        };

        for (const step of steps) {
          switch (step.kind) {
            case 'append': {
              const { lane, email } = step;
              const [id = ''] = await appendIds(under.store, [toDraft[lane](email)]);
              accepted.push({ id, lane, email, state: 'unsettled' });
              break;
            }
            case 'claim':
              await claimFrom(step.lane);
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
              for (const each of accepted) if (each.state === 'dead') each.state = 'unsettled';
              break;
            case 'crash':
              if (under.crash !== undefined) {
                await under.crash();
                inFlight = [];
              }
          }
          expectBalanced(under.store);
        }
        const isLeft = (): boolean => accepted.some(({ state }) => state === 'unsettled');
        for (let rounds = 0; isLeft() && rounds < 200; rounds++) {
          for (const each of inFlight.splice(0)) await settle(each, ack);
          await under.clock.advance(10);
          for (const lane of allLanes) await claimFrom(lane);
        }
        for (const each of inFlight.splice(0)) await settle(each, ack);
        expect(accepted.filter(({ state }) => state === 'unsettled')).toEqual([]);
        for (const lane of allLanes) expect(under.store.depth(lane).count, lane).toBe(0);
        expectBalanced(under.store);
        await under.close();
      }),
      { numRuns },
    );
  });
}
