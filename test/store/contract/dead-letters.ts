import { describe, expect, it } from 'vitest';
import type { DeadLetterFilter } from '../../../src/model/dead-letter.js';
import type { Store } from '../../../src/model/store.js';
import {
  ack,
  anEvent,
  aProfile,
  aReason,
  retry,
  settledAs,
  someEvents,
  someProfiles,
  startMs,
  toText,
} from '../../support/builders.js';
import { append, appendIds, deadLetterAll, claim, type Open, settleAll } from './harness.js';

const texts = async (store: Store, filter: DeadLetterFilter = {}): Promise<readonly string[]> =>
  (await store.deadLetters(filter, { limit: 100 })).data.map(toText);

const really = { dryRun: false };

export function describeDeadLetters(open: Open): void {
  describe('a dead letter', () => {
    it('keeps its payload, its reason, its time and the number of its attempts', async () => {
      const { store, clock } = await open();
      const [id] = await appendIds(store, [anEvent({ text: 'payload', acceptedAt: startMs })]);
      await settleAll(store, { lane: 'events', verdict: retry(1000) });
      await clock.advance(1000);
      const deliveryId = await deadLetterAll(store, 'events', 'bad_phone');
      const letter = await store.deadLetter(id!);
      expect(letter).toMatchObject({
        id,
        lane: 'events',
        acceptedAt: startMs,
        deadLetteredAt: startMs + 1000,
        attempts: 2,
        deliveryId,
        reason: { code: 'bad_phone' },
      });
      expect(toText(letter!)).toBe('payload');
      expect(await store.deadLetter('ev_zzzzzz_1')).toBeNull();
    });

    it('does not delay an envelope that shares its keys', async () => {
      const { store } = await open({ dedupe: { maxAgeMs: 0, maxCount: 0 } });
      await append(store, [anEvent({ keys: ['ea'] }), anEvent({ keys: ['ea'] })]);
      await deadLetterAll(store);
      expect(await claim(store)).toHaveLength(1);
    });
  });

  describe('the list of dead letters', () => {
    it('is newest first and can be filtered by lane, reason, ids and time', async () => {
      const { store, clock } = await open();
      const [id] = await appendIds(store, someEvents(1, 'e'));
      await deadLetterAll(store, 'events', 'one');
      await clock.advance(10);
      await append(store, someProfiles(1, 'p'));
      await deadLetterAll(store, 'profiles', 'two');
      await clock.advance(10);
      await append(store, someEvents(1, 'f'));
      await deadLetterAll(store, 'events', 'two');
      expect(await texts(store)).toEqual(['f0', 'p0', 'e0']);
      expect(await texts(store, { lane: 'events' })).toEqual(['f0', 'e0']);
      expect(await texts(store, { reason: 'two' })).toEqual(['f0', 'p0']);
      expect(await texts(store, { ids: [id!, 'ev_zzzzzz_1'] })).toEqual(['e0']);
      expect(await texts(store, { ids: [] })).toEqual([]);
      expect(await texts(store, { since: startMs + 10 })).toEqual(['f0', 'p0']);
      expect(await texts(store, { since: startMs + 10, until: startMs + 10 })).toEqual(['p0']);
      expect(await texts(store, { lane: 'events', reason: 'two' })).toEqual(['f0']);
    });

    it('can be filtered by whether a dead letter was ever sent', async () => {
      const { store } = await open();
      await append(store, someEvents(1, 'sent'));
      await deadLetterAll(store);
      await append(store, [anEvent({ text: 'unsent', deadLetterReason: aReason() })]);
      expect(await texts(store)).toEqual(['unsent', 'sent0']);
      expect(await texts(store, { neverSent: true })).toEqual(['unsent']);
      expect(await texts(store, { neverSent: false })).toEqual(['sent0']);
    });

    it('shows each dead letter once over several pages while others are added and removed', async () => {
      const { store } = await open();
      await append(store, someEvents(6));
      await deadLetterAll(store);
      const first = await store.deadLetters({}, { limit: 2 });
      expect(first.data.map(toText)).toEqual(['n5', 'n4']);
      await append(store, someProfiles(3));
      await deadLetterAll(store, 'profiles');
      await store.discard({ ids: first.data.map(({ id }) => id) }, really);
      const second = await store.deadLetters({}, { limit: 2, cursor: first.next ?? undefined });
      expect(second.data.map(toText)).toEqual(['n3', 'n2']);
      const third = await store.deadLetters({}, { limit: 2, cursor: second.next ?? undefined });
      expect(third.data.map(toText)).toEqual(['n1', 'n0']);
      expect(third.next).toBeNull();
    });

    it('drops the oldest at its bound and reports each dropped one', async () => {
      const { store, dropped } = await open({ maxDeadLetters: 3 });
      const [first, second] = await appendIds(store, someEvents(5));
      await deadLetterAll(store);
      expect(await texts(store)).toEqual(['n4', 'n3', 'n2']);
      expect(dropped.map(({ id }) => id)).toEqual([first, second]);
      expect(store.depth('events').deadLetters).toBe(3);
      expect(await store.receipt(first!)).toBeNull();
    });

    it('has one bound for all lanes', async () => {
      const { store, dropped } = await open({ maxDeadLetters: 2 });
      await append(store, [...someEvents(2, 'e'), ...someProfiles(1, 'p')]);
      await deadLetterAll(store, 'events');
      await deadLetterAll(store, 'profiles');
      expect(await texts(store)).toEqual(['p0', 'e1']);
      expect(dropped.map(toText)).toEqual(['e0']);
      expect(store.depth('events').deadLetters).toBe(1);
      expect(store.depth('profiles').deadLetters).toBe(1);
    });
  });

  describe('redrive', () => {
    it('makes matching dead letters claimable again, oldest first and without attempts', async () => {
      const { store, clock } = await open();
      await append(store, someEvents(3));
      await settleAll(store, { lane: 'events', verdict: retry(0) });
      await clock.advance(0);
      await deadLetterAll(store);
      const wake: string[] = [];
      store.onClaimable((lane) => void wake.push(lane));
      expect(await store.redrive({ reason: 'invalid' }, really)).toBe(3);
      expect(wake).toContain('events');
      expect(store.depth('events')).toMatchObject({ count: 3, deadLetters: 0 });
      const again = (await claim(store)).flat();
      expect(again.map(toText)).toEqual(['n0', 'n1', 'n2']);
      expect(again.map(({ attempts }) => attempts)).toEqual([0, 0, 0]);
    });

    it('sets a new time of acceptance, so that an old envelope is not too old at its first failure', async () => {
      const { store, clock } = await open();
      await append(store, [anEvent({ acceptedAt: startMs })]);
      await deadLetterAll(store, 'events', 'too_old');
      await clock.advance(8 * 86_400_000);
      await store.redrive({}, really);
      const [envelope] = (await claim(store)).flat();
      expect(envelope?.acceptedAt).toBe(clock.now());
    });

    it('of several lanes makes each dead letter claimable in its own lane', async () => {
      const { store } = await open();
      await append(store, [...someEvents(2, 'e'), ...someProfiles(3, 'p')]);
      await deadLetterAll(store, 'events');
      await deadLetterAll(store, 'profiles');
      const wake: string[] = [];
      store.onClaimable((lane) => void wake.push(lane));
      expect(await store.redrive({ lane: 'profiles' }, really)).toBe(3);
      expect(new Set(wake)).toEqual(new Set(['profiles']));
      expect(await store.redrive({}, really)).toBe(2);
      expect(store.depth('events').count).toBe(2);
      expect(store.depth('profiles').count).toBe(3);
      expect((await claim(store)).flat().map(toText)).toEqual(['e0', 'e1']);
      expect((await claim(store, {}, 'profiles')).flat().map(toText)).toEqual(['p0', 'p1', 'p2']);
    });

    it('of profiles does not make an event with their keys a duplicate', async () => {
      const { store } = await open();
      await append(store, [aProfile({ keys: ['ea'] })]);
      await deadLetterAll(store, 'profiles');
      await store.redrive({}, really);
      const [event] = await append(store, [anEvent({ keys: ['ea'] })]);
      expect(event!.duplicate).toBe(false);
      await deadLetterAll(store, 'profiles');
      const [again] = await append(store, [anEvent({ keys: ['ea'] })]);
      expect(again).toEqual({ id: event!.id, duplicate: true });
    });

    it('only counts matching dead letters in a dry run', async () => {
      const { store } = await open();
      await append(store, [anEvent(), aProfile()]);
      await deadLetterAll(store, 'events');
      await deadLetterAll(store, 'profiles');
      expect(await store.redrive({ lane: 'events' }, { dryRun: true })).toBe(1);
      expect(await store.discard({}, { dryRun: true })).toBe(2);
      expect(await texts(store)).toHaveLength(2);
      expect(await claim(store)).toEqual([]);
    });

    it('leaves dead letters that do not match, and finds none the second time', async () => {
      const { store } = await open();
      const ids = await appendIds(store, someEvents(2));
      await deadLetterAll(store);
      expect(await store.redrive({ ids: [ids[0]!] }, really)).toBe(1);
      expect(await store.redrive({ ids: [ids[0]!] }, really)).toBe(0);
      expect(await texts(store)).toEqual(['n1']);
    });

    it('allows an envelope to be delivered or to become a dead letter again', async () => {
      const { store } = await open();
      const ids = await appendIds(store, someEvents(2));
      await deadLetterAll(store);
      await store.redrive({}, really);
      const [first, second] = await claim(store);
      await store.settle({ lane: 'events', settled: settledAs([first!], ack) });
      await store.settle({
        lane: 'events',
        settled: settledAs([second!], {
          kind: 'dead-letter',
          reason: { code: 'again', detail: 'no' },
        }),
      });
      expect(store.depth('events')).toMatchObject({ count: 0, deadLetters: 1 });
      expect(await store.deadLetter(ids[1]!)).toMatchObject({
        attempts: 1,
        reason: { code: 'again' },
      });
    });

    it('sends a redriven event and the corrected event with its unique_id one after the other', async () => {
      const { store } = await open();
      await append(store, [anEvent({ keys: ['ea'], text: 'wrong' })]);
      await deadLetterAll(store);
      await append(store, [anEvent({ keys: ['ea'], text: 'right' })]);
      await store.redrive({}, really);
      const items = await claim(store);
      expect(items.flat().map(toText)).toEqual(['wrong']);
      await store.settle({ lane: 'events', settled: settledAs(items, ack) });
      expect((await claim(store)).flat().map(toText)).toEqual(['right']);
    });

    it('processes thousands of dead letters in one call', async () => {
      const { store } = await open();
      await append(store, someEvents(5000));
      await deadLetterAll(store);
      await append(store, someEvents(1));
      await deadLetterAll(store);
      expect(await store.redrive({}, really)).toBe(5000 + 1);
      expect((await claim(store, { maxCount: 10_000 })).length).toBe(5001);
    });
  });

  it('a redrive and a discard at the same time act on each dead letter once', async () => {
    const { store } = await open();
    await append(store, someEvents(600));
    await deadLetterAll(store);
    const [redriven, discarded] = await Promise.all([
      store.redrive({}, really),
      store.discard({}, really),
    ]);
    expect(redriven + discarded).toBe(600);
    expect(store.depth('events')).toMatchObject({ count: redriven, deadLetters: 0 });
    expect(await claim(store, { maxCount: 1000 })).toHaveLength(redriven);
  });

  it('discard deletes matching dead letters', async () => {
    const { store } = await open();
    const ids = await appendIds(store, someEvents(2));
    await deadLetterAll(store);
    expect(await store.discard({ ids: [ids[0]!] }, really)).toBe(1);
    expect(await store.deadLetter(ids[0]!)).toBeNull();
    expect(await texts(store)).toEqual(['n1']);
    expect(store.depth('events')).toMatchObject({ count: 0, deadLetters: 1 });
    expect(await store.redrive({ ids: [ids[0]!] }, really)).toBe(0);
  });
}
