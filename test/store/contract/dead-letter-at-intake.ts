import { describe, expect, it } from 'vitest';
import type { Draft } from '../../../src/model/envelope.js';
import {
  ack,
  anEvent,
  aProfile,
  aReason,
  deadLetter,
  settledAs,
  someEvents,
  startMs,
  toText,
} from '../../support/builders.js';
import {
  append,
  appendIds,
  claim,
  expectBalanced,
  type Open,
  settleAll,
  toClaimed,
} from './harness.js';

const reason = aReason({ code: 'no_identity', detail: 'Nobody is named in it' });
const aBuried = (overrides: Parameters<typeof anEvent>[0] = {}): Draft =>
  anEvent({ deadLetterReason: reason, ...overrides });

const really = { dryRun: false };

export function describeBury(open: Open): void {
  describe('a draft with a dead-letter reason', () => {
    it('is a dead letter as soon as it is accepted, without an attempt or a delivery', async () => {
      const { store, clock } = await open();
      await clock.advance(5);
      const [id] = await appendIds(store, [aBuried({ text: '{"é":1}', acceptedAt: startMs })]);
      const letter = await store.deadLetter(id!);
      expect(letter).toMatchObject({
        id,
        lane: 'events',
        acceptedAt: startMs,
        deadLetteredAt: startMs + 5,
        attempts: 0,
        deliveryId: null,
        reason,
      });
      expect(toText(letter!)).toBe('{"é":1}');
      expect(await store.receipt(id!)).toEqual({
        id,
        lane: 'events',
        state: 'dead_lettered',
        deliveryId: null,
        reason,
        merged: false,
      });
      expect(store.depth('events')).toEqual({
        count: 0,
        bytes: 0,
        oldestAgeMs: null,
        deadLetters: 1,
      });
      expect(store.claimable('events')).toMatchObject({ count: 0, bytes: 0, oldestAgeMs: null });
      expect(await claim(store)).toEqual([]);
    });

    it('needs no keys', async () => {
      const { store } = await open();
      const ids = await appendIds(store, [aBuried({ keys: [] }), aBuried({ keys: [] })]);
      expect(new Set(ids).size).toBe(2);
      expect(await store.redrive({}, really)).toBe(2);
      expect(await claim(store)).toHaveLength(2);
    });

    it('can be appended with others in any order: each has its result, and the others are sent', async () => {
      const { store } = await open();
      const drafts = [
        anEvent({ text: 'a' }),
        aBuried({ text: 'b' }),
        aProfile({ text: 'c', deadLetterReason: reason }),
        anEvent({ text: 'd' }),
        aProfile({ text: 'e' }),
      ];
      const taken = await append(store, drafts);
      expect(taken.map(({ duplicate }) => duplicate)).toEqual(Array(5).fill(false));
      const receipts = await Promise.all(taken.map(({ id }) => store.receipt(id)));
      expect(receipts.map((each) => `${each?.lane} ${each?.state}`)).toEqual([
        'events buffered',
        'events dead_lettered',
        'profiles dead_lettered',
        'events buffered',
        'profiles buffered',
      ]);
      const events = (await claim(store)).flat();
      expect(events.map(toText)).toEqual(['a', 'd']);
      expect(events.some((envelope) => 'deadLetterReason' in envelope)).toBe(false);
      expect((await claim(store, {}, 'profiles')).flat().map(toText)).toEqual(['e']);
      const letters = await store.deadLetters({}, { limit: 10 });
      expect(letters.data.map(toText)).toEqual(['c', 'b']);
    });

    it('counts as accepted and as dead-lettered, so that accepted = settled + buffered', async () => {
      const { store } = await open();
      await append(store, [...someEvents(3), aBuried(), aProfile({ deadLetterReason: reason })]);
      await settleAll(store, { lane: 'events', verdict: ack });
      await append(store, [aBuried(), ...someEvents(2)]);
      await settleAll(store, { lane: 'events', verdict: deadLetter() });
      await append(store, someEvents(4));
      expectBalanced(store);
      if (store.durability === 'process') return;
      expect(store.laneTotals('events')).toEqual({
        accepted: 11,
        delivered: 3,
        merged: 0,
        deadLettered: 4,
        erased: 0,
      });
      expect(store.laneTotals('profiles')).toMatchObject({ accepted: 1, deadLettered: 1 });
    });

    it('uses no capacity after it is accepted: further ones are accepted one request after the other', async () => {
      const { store } = await open({ capacity: { maxCount: 2, maxBytes: 1000 } });
      await append(store, [anEvent()]);
      for (let turn = 0; turn < 5; turn++) await append(store, [aBuried()]);
      await append(store, [anEvent()]);
      expect(store.depth('events')).toMatchObject({ count: 2, deadLetters: 5 });
    });

    it('is rejected with the whole append if there is no capacity, and nothing of it is stored', async () => {
      const { store } = await open({ capacity: { maxCount: 3, maxBytes: 1000 } });
      await append(store, someEvents(3));
      const refused = { ok: false, backpressure: { reason: 'full' } };
      expect(await store.append([aBuried()])).toMatchObject(refused);
      await settleAll(store, { lane: 'events', verdict: ack });
      expect(await store.append([...someEvents(2), aBuried(), aBuried()])).toMatchObject(refused);
      expect(store.depth('events')).toMatchObject({ count: 0, deadLetters: 0 });
      await append(store, [...someEvents(2), aBuried()]);
      expectBalanced(store);
    });

    it('leaves its unique_id free for a corrected event', async () => {
      const { store } = await open();
      const [buried, corrected, repeat] = await append(store, [
        aBuried({ keys: ['ea'] }),
        anEvent({ keys: ['ea'] }),
        anEvent({ keys: ['ea'] }),
      ]);
      expect([buried!.duplicate, corrected!.duplicate]).toEqual([false, false]);
      expect(repeat).toEqual({ id: corrected!.id, duplicate: true });
    });

    it('is a duplicate if an event with its unique_id was accepted before', async () => {
      const { store } = await open();
      const [first, again] = await append(store, [
        anEvent({ keys: ['ea'] }),
        aBuried({ keys: ['ea'] }),
      ]);
      expect(again).toEqual({ id: first!.id, duplicate: true });
      expect(await append(store, [aBuried({ keys: ['ea'] })])).toEqual([again]);
      expect(store.depth('events').deadLetters).toBe(0);
      expectBalanced(store);
    });

    it('removes the oldest dead letter at the bound, or is dropped itself if one append has too many', async () => {
      const { store, dropped } = await open({ maxDeadLetters: 3 });
      const texts = async () =>
        (await store.deadLetters({}, { limit: 10 })).data.map(toText).reverse();
      await append(store, [aBuried({ text: 'a' }), aBuried({ text: 'b' })]);
      await append(store, [
        aBuried({ text: 'c' }),
        aProfile({ text: 'd', deadLetterReason: reason }),
      ]);
      expect(await texts()).toEqual(['b', 'c', 'd']);
      expect(dropped.map(toText)).toEqual(['a']);
      await append(
        store,
        ['e', 'f', 'g', 'h', 'i'].map((text) => aBuried({ text })),
      );
      expect(await texts()).toEqual(['g', 'h', 'i']);
      expect(dropped.map(toText)).toEqual(['a', 'b', 'c', 'd', 'e', 'f']);
      expect(store.depth('events').deadLetters).toBe(3);
      expect(store.depth('profiles').deadLetters).toBe(0);
      expect(await store.receipt(dropped[4]!.id)).toBeNull();
      expectBalanced(store);
    });

    it('does not overtake earlier envelopes that still wait when it is redriven', async () => {
      const { store } = await open();
      await append(store, [
        aProfile({ keys: ['ea'], text: 'old' }),
        aProfile({ keys: ['eb'], text: 'other', deadLetterReason: reason }),
        aProfile({ keys: ['ea'], text: 'new', deadLetterReason: reason }),
        aProfile({ keys: ['ea'], text: 'newest' }),
      ]);
      await store.redrive({}, really);
      expect(store.claimable('profiles').count).toBe(4);
      expect(toClaimed(await claim(store, { maxCount: 1 }, 'profiles'))).toEqual([['old']]);
      expect(toClaimed(await claim(store, {}, 'profiles'))).toEqual([['other']]);
    });

    it('is merged in order with the profiles of its identity after a redrive', async () => {
      const { store } = await open();
      await append(store, [
        aProfile({ keys: ['ea'], text: 'old' }),
        aProfile({ keys: ['ea'], text: 'new', deadLetterReason: reason }),
        aProfile({ keys: ['ea'], text: 'newest' }),
      ]);
      await store.redrive({}, really);
      expect(toClaimed(await claim(store, {}, 'profiles'))).toEqual([['old', 'new', 'newest']]);
    });

    it('is listed, redriven, delivered and discarded like any dead letter', async () => {
      const { store } = await open();
      const [sent, thrown] = await appendIds(store, [
        aBuried({ text: 'a', keys: ['ea'] }),
        aBuried({ text: 'b' }),
      ]);
      expect(await store.redrive({ ids: [sent!], reason: 'no_identity' }, really)).toBe(1);
      expect(await store.discard({ reason: 'no_identity' }, really)).toBe(1);
      expect(await store.receipt(thrown!)).toBeNull();
      expect(await append(store, [anEvent({ keys: ['ea'] })])).toEqual([
        { id: sent, duplicate: true },
      ]);
      const items = await claim(store);
      expect(items.flat()).toMatchObject([{ id: sent, attempts: 0 }]);
      await store.settle({ lane: 'events', settled: settledAs(items, deadLetter('again')) });
      expect(await store.deadLetter(sent!)).toMatchObject({
        attempts: 1,
        reason: { code: 'again' },
      });
      await store.redrive({}, really);
      await settleAll(store, { lane: 'events', verdict: ack });
      expect((await store.receipt(sent!))?.state).toBe('delivered');
      expectBalanced(store);
    });
  });
}
