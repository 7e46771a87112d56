import { describe, expect, it } from 'vitest';
import { createSeededRandom } from '../../src/sandbox/faults.js';
import { LanePauses } from '../../src/delivery/lane-state.js';
import { toRejectionKey, UniformRejections } from '../../src/delivery/uniform-rejections.js';
import type { Outcome, Reason, Verdict } from '../../src/model/outcome.js';
import {
  ack,
  anEvent,
  aReason,
  deadLetter,
  delivered,
  failed,
  pending,
  rejected,
  retry,
  settledAs,
  someEvents,
  someItems,
  someProfiles,
  unattributed,
} from '../support/builders.js';
import { createManualClock } from '../support/manual-clock.js';
import { useEngines, type Request, type Script } from './fixture.js';
import { mapLanes } from '../../src/model/lane.js';

const start = useEngines();

const batch = (maxCount: number) => ({ maxCount, maxBytes: 5_000_000, maxAgeMs: 100 });
const large = { bounds: mapLanes(() => batch(1000)) };

const isBad = (text: string): boolean => text.includes('bad');

/** Rejects the bad records of a request with pointers to them. */
const rejectWithPointers = (text: string, { texts }: Request): Outcome =>
  !texts.some(isBad) ? delivered : isBad(text) ? rejected : unattributed('pointer');

/** Rejects a request with a bad record without a pointer. */
const rejectWithoutPointers = (_text: string, { texts }: Request): Outcome =>
  !texts.some(isBad) ? delivered : texts.length === 1 ? rejected : unattributed('bisect');

describe('a lane whose envelopes Klaviyo all rejects for one reason', () => {
  it.each([
    ['with pointers', rejectWithPointers, 0, 50],
    ['without pointers', rejectWithoutPointers, 30, 400],
  ])(
    '%s pauses and loses nothing, and delivers all envelopes when Klaviyo accepts them again',
    async (...of) => {
      const [, wrong, mostDeadLetters, mostRequests] = of;
      let isWrong = true;
      const { engine, store, requests, logged, append, advance } = await start(
        (text, request) => (isWrong ? wrong(text, request) : delivered),
        { overrides: large },
      );
      await append(someEvents(5000, 'bad'));
      await advance(600_000);
      expect(engine.pauses().events).toMatchObject([{ kind: 'refusal' }]);
      expect(store.depth('events').deadLetters).toBeLessThanOrEqual(mostDeadLetters);
      expect(store.depth('events').count + store.depth('events').deadLetters).toBe(5000);
      expect(requests.length).toBeLessThan(mostRequests);
      expect(logged.filter((line) => line.startsWith('lane events paused'))).toHaveLength(1);
      isWrong = false;
      await advance(61_000);
      expect(store.depth('events').count).toBe(0);
      expect(engine.pauses().events).toEqual([]);
      expect(store.depth('events').deadLetters).toBeLessThanOrEqual(mostDeadLetters);
    },
    30_000,
  );

  it('sends ever rarer probes of at most ten envelopes, drawn at random', async () => {
    const { requests, append, advance } = await start(rejectWithPointers, {
      overrides: { ...large, random: createSeededRandom(1) },
    });
    await append(someEvents(5000, 'bad'));
    await advance(900_000);
    const first = requests.findIndex(({ texts }) => texts.length <= 10);
    expect(requests.slice(0, first).every(({ texts }) => texts.length === 1000)).toBe(true);
    expect(first).toBeLessThanOrEqual(8);
    const probes = requests.slice(first);
    expect(Math.max(...probes.map(({ texts }) => texts.length))).toBeLessThanOrEqual(10);
    const tried = probes.flatMap(({ texts }) => texts);
    expect(new Set(tried).size).toBeGreaterThan(0.95 * tried.length);
    const gaps = probes.slice(1).map(({ at }, index) => at - probes[index]!.at);
    for (const [index, gap] of gaps.entries()) {
      expect(gap).toBeGreaterThanOrEqual(Math.max(1000, (gaps[index - 1] ?? 0) - 100));
      expect(gap).toBeLessThanOrEqual(61_000);
    }
    expect(gaps.at(-1)).toBeGreaterThan(59_000);
  });

  it('still sends new envelopes in full batches, and does not repeat these batches', async () => {
    const { requests, store, append, advance } = await start(rejectWithPointers, {
      overrides: large,
    });
    await append(someEvents(5000, 'bad'));
    await advance(300_000);
    const before = requests.length;
    await append(someEvents(2000, 'bad-new'));
    await advance(120_000);
    const sizes = requests.slice(before).map(({ texts }) => texts.length);
    expect(sizes.filter((size) => size > 10)).toEqual([1000, 1000]);
    expect(store.depth('events')).toMatchObject({ count: 7000, deadLetters: 0 });
  });

  it('sends everything in full batches as soon as a probe is accepted', async () => {
    let isWrong = true;
    const { requests, store, append, advance } = await start(
      (text, request) => (isWrong ? rejectWithPointers(text, request) : delivered),
      { overrides: large },
    );
    await append(someEvents(5000, 'bad'));
    await advance(300_000);
    isWrong = false;
    const before = requests.length;
    for (let step = 0; step < 700 && requests.length === before; step++) await advance(100);
    await advance(1000);
    expect(store.depth('events')).toMatchObject({ count: 0, deadLetters: 0 });
    expect(requests.length - before).toBeLessThanOrEqual(7);
  });

  it('leaves everything in the store if the relay stops', async () => {
    const { store, append, advance, stop } = await start(rejectWithPointers, { overrides: large });
    await append(someEvents(5000, 'bad'));
    await advance(60_000);
    await stop();
    expect(store.claimable('events').count).toBe(5000);
  });

  it('keeps everything during an outage that follows, and delivers it afterwards', async () => {
    let script: Script = rejectWithPointers;
    const { engine, store, append, advance } = await start((...asked) => script(...asked), {
      overrides: large,
    });
    await append(someEvents(5000, 'bad'));
    await advance(60_000);
    script = () => failed;
    await advance(300_000);
    expect(store.depth('events')).toMatchObject({ count: 5000, deadLetters: 0 });
    script = () => delivered;
    await advance(65_000);
    expect(store.depth('events')).toMatchObject({ count: 0, deadLetters: 0 });
    expect(engine.pauses().events).toEqual([]);
  });

  it('delays everything by seconds if Klaviyo rejects for seconds', async () => {
    let isWrong = true;
    const { store, append, advance } = await start(
      (text, request) => (isWrong ? rejectWithPointers(text, request) : delivered),
      { overrides: large },
    );
    await append(someEvents(5000, 'bad'));
    await advance(4500);
    isWrong = false;
    await advance(3000);
    expect(store.depth('events')).toMatchObject({ count: 0, deadLetters: 0 });
  });

  it('behaves the same if the import jobs reject, although every request is accepted', async () => {
    let isWrong = true;
    const { engine, store, append, advance } = await start(
      (_text, _request, number) => pending(`job-${number}`),
      {
        overrides: large,
        jobs: ({ texts }) => texts.map(() => (isWrong ? rejected : delivered)),
      },
    );
    await append(someProfiles(5000));
    await advance(60_000);
    expect(engine.pauses().profiles).toMatchObject([{ kind: 'refusal' }]);
    expect(store.depth('profiles')).toMatchObject({ count: 5000, deadLetters: 0 });
    isWrong = false;
    await advance(20_000);
    expect(store.depth('profiles')).toMatchObject({ count: 0, deadLetters: 0 });
    expect(engine.pauses().profiles).toEqual([]);
  }, 30_000);
});

describe('bad records', () => {
  it.each([
    ['with pointers', rejectWithPointers],
    ['without pointers', rejectWithoutPointers],
  ])(
    'among 5,000, rejected %s, never delay a good record for long',
    async (_name, script) => {
      const { store, requests, append, advance } = await start(script, { overrides: large });
      await append(someEvents(5000, 'bad'));
      await advance(30_000);
      const before = requests.length;
      const { count, deadLetters } = store.depth('events');
      expect(deadLetters).toBeLessThanOrEqual(30);
      expect(count).toBe(5000 - deadLetters);
      await append([anEvent({ text: 'good' })]);
      const isSent = (): boolean =>
        requests.some(({ texts }) => texts.length === 1 && texts[0] === 'good');
      for (let step = 0; step < 300 && !isSent(); step++) await advance(100);
      expect(isSent()).toBe(true);
      expect(requests.length - before).toBeLessThan(8);
    },
    30_000,
  );

  it('become dead letters while all good records among them are delivered', async () => {
    const { engine, store, append, advance } = await start(rejectWithPointers, {
      overrides: large,
    });
    for (let second = 0; second < 10; second++) {
      await append(someEvents(90, `bad${second}-`));
      await append(someEvents(100, `good${second}-`));
      await advance(1000);
    }
    await advance(10_000);
    expect(store.depth('events')).toMatchObject({ count: 0, deadLetters: 900 });
    expect(engine.pauses().events).toEqual([]);
  });

  it('become dead letters at once if they are few, without anything else to send', async () => {
    const { engine, store, append, advance } = await start(rejectWithPointers, {
      overrides: large,
    });
    await append(someEvents(25, 'bad'));
    await advance(200);
    expect(store.depth('events')).toMatchObject({ count: 0, deadLetters: 25 });
    expect(engine.pauses().events).toEqual([]);
  });

  it('become dead letters when an operator resumes the lane', async () => {
    const { engine, store, logged, append, advance } = await start(rejectWithPointers, {
      overrides: large,
    });
    await append(someEvents(900, 'bad'));
    await advance(20_000);
    expect(store.depth('events')).toMatchObject({ count: 900, deadLetters: 0 });
    engine.resume('events');
    await advance(20_000);
    expect(store.depth('events')).toMatchObject({ count: 0, deadLetters: 900 });
    expect(logged.some((line) => line.startsWith('gave up on 900 envelopes: Invalid email'))).toBe(
      true,
    );
  });

  it('are kept again in later uniform rejections, although an operator allowed earlier ones', async () => {
    let isWrong = true;
    const { engine, store, append, advance } = await start(
      (text, request) => (isWrong ? rejectWithPointers(text, request) : delivered),
      { overrides: large },
    );
    await append(someEvents(1000, 'bad'));
    await advance(5000);
    isWrong = false;
    await advance(10_000);
    isWrong = true;
    await append(someEvents(1000, 'bad-again'));
    await advance(10_000);
    expect(engine.pauses().events).toMatchObject([{ kind: 'refusal' }]);
    expect(store.depth('events')).toMatchObject({ count: 1000, deadLetters: 0 });
  });
});

describe('the keys of rejections', () => {
  const key = (reason: Partial<Reason>): string =>
    toRejectionKey({ code: 'rejected', detail: '', ...reason });

  it.each([
    [{ detail: "'ada@example.org' is not valid" }, { detail: "'bob@example.org' is not valid" }],
    [{ detail: 'entry 17 of 1000 is too long' }, { detail: 'entry 3 of 12 is too long' }],
    [{ detail: 'phone +15555550123 is wrong' }, { detail: 'phone +491701234567 is wrong' }],
    [
      { faults: [{ pointer: '/attributes/value', detail: 'a' }] },
      { faults: [{ pointer: '/attributes/value', detail: 'b' }] },
    ],
  ])('are equal if the texts differ only in values of the record: %j', (one, other) => {
    expect(key(one)).toBe(key(other));
  });

  it('are equal if the texts differ only after 200 characters', () => {
    const long = 'word '.repeat(60);
    expect(key({ detail: `${long}a` })).toBe(key({ detail: `${long}b` }));
  });

  it('have the pointer to the first fault, or the detail if no fault has a pointer', () => {
    const detail = 'email is not valid';
    const toFaults = (pointer: string) => [{ pointer, detail }];
    expect(key({ detail, faults: toFaults('/attributes/email') })).toBe(
      'rejected /attributes/email',
    );
    expect(key({ detail, faults: toFaults('') })).toBe('rejected email is not valid');
    expect(key({ detail })).toBe('rejected email is not valid');
  });

  it.each([
    [{ detail: 'email is not valid' }, { detail: 'phone is not valid' }],
    [{ code: 'too_large' }, { code: 'rejected' }],
  ])('differ if the texts differ otherwise: %j', (one, other) => {
    expect(key(one)).not.toBe(key(other));
  });
});

describe('the count of rejections', () => {
  function createUnderTest() {
    const clock = createManualClock();
    const logged: string[] = [];
    const write = (_fields: object, text: string) => void logged.push(text);
    const pauses = new LanePauses({ lane: 'events', clock, log: { info: write, warn: write } });
    const ends: number[] = [];
    const onEnd = () => void ends.push(clock.monotonic());
    const rejections = new UniformRejections({ lane: 'events', clock, pauses, onEnd });
    const filter = (count: number, verdict: Verdict, source: 'request' | 'job' = 'request') => {
      const filtered = rejections.filterRejections(settledAs(someItems(count), verdict), source);
      return { ...filtered, verdicts: filtered.settled.map((each) => each.verdict) };
    };
    return { clock, logged, pauses, ends, rejections, filter };
  }
  const wrong = deadLetter('invalid_email');

  it('begins the pause at the thirty-first rejection for one reason, and keeps what was rejected', () => {
    const { rejections, pauses, filter } = createUnderTest();
    const few = filter(30, wrong);
    expect(few.verdicts).toEqual(Array.from({ length: 30 }, () => wrong));
    expect([few.pauseMs, rejections.isActive]).toEqual([0, false]);
    const { verdicts, settled } = filter(1, wrong);
    const reason = aReason({ code: 'invalid_email' });
    expect(verdicts).toEqual([{ kind: 'retry', afterMs: 0, reason, countAttempt: false }]);
    expect(rejections.isActive).toBe(true);
    expect(rejections.reason).toEqual(reason);
    expect(settled.every(({ envelope }) => rejections.isHeld(envelope.id))).toBe(true);
    expect(pauses.list()).toMatchObject([{ kind: 'refusal' }]);
  });

  it('counts each reason on its own, and each source', () => {
    const { rejections, filter } = createUnderTest();
    filter(20, wrong);
    filter(20, deadLetter('invalid_phone'));
    filter(20, wrong, 'job');
    expect(rejections.isActive).toBe(false);
  });

  it('starts anew when Klaviyo accepts something, and ignores rejections beside it', () => {
    const { rejections, filter } = createUnderTest();
    filter(30, wrong);
    filter(1, ack);
    filter(30, wrong);
    expect(rejections.isActive).toBe(false);
    const mixed = [...settledAs(someItems(40), wrong), ...settledAs(someItems(1), ack)];
    rejections.filterRejections(mixed, 'request');
    expect(rejections.isActive).toBe(false);
  });

  it('does not start anew for import jobs when a request is accepted, but for requests when a job is', () => {
    const { rejections, filter } = createUnderTest();
    filter(20, wrong);
    filter(1, ack, 'job');
    filter(20, wrong);
    expect(rejections.isActive).toBe(false);
    filter(20, wrong, 'job');
    filter(1, { kind: 'poll', ref: 'job-1' });
    filter(20, wrong, 'job');
    expect(rejections.isActive).toBe(true);
  });

  it('has no retry, and nothing that the relay gave up by itself', () => {
    const { rejections, filter } = createUnderTest();
    filter(40, retry());
    filter(40, deadLetter('attempts_exhausted'));
    filter(40, deadLetter('too_old'));
    expect(rejections.isActive).toBe(false);
  });

  it('makes the lane pause between requests for a sixteenth of the age of the pause, 250 ms to 5 s', async () => {
    const { clock, filter } = createUnderTest();
    await clock.advance(7000);
    expect(filter(31, wrong).pauseMs).toBe(250);
    await clock.advance(16_000);
    expect(filter(31, wrong).pauseMs).toBe(1000);
    await clock.advance(3_600_000);
    expect(filter(31, wrong).pauseMs).toBe(5000);
  });

  it('makes probes due after a quarter of the age of the pause, 1 s to 60 s', async () => {
    const { clock, rejections, filter } = createUnderTest();
    await clock.advance(7000);
    filter(31, wrong);
    expect(rejections.nextProbeMs()).toBe(1000);
    await clock.advance(400);
    expect(rejections.nextProbeMs()).toBe(600);
    await clock.advance(7600);
    expect(rejections.nextProbeMs()).toBe(0);
    rejections.noteProbe();
    expect(rejections.nextProbeMs()).toBe(2000);
    await clock.advance(3_600_000);
    rejections.noteProbe();
    expect(rejections.nextProbeMs()).toBe(60_000);
  });

  it('ends the pause when Klaviyo accepts something, and lets as many rejections pass as envelopes are held', async () => {
    const { clock, rejections, pauses, ends, filter } = createUnderTest();
    filter(40, wrong);
    await clock.advance(5000);
    filter(1, ack);
    expect([rejections.isActive, pauses.list(), ends]).toEqual([false, [], [5000]]);
    expect(filter(40, wrong).verdicts).toEqual(Array.from({ length: 40 }, () => wrong));
    expect(rejections.isActive).toBe(false);
    filter(1, wrong);
    expect(rejections.isActive).toBe(true);
  });

  it('lets no rejection pass once a held envelope was delivered', () => {
    const { rejections, filter } = createUnderTest();
    const { settled } = filter(40, wrong);
    filter(1, ack);
    const [first] = settled;
    rejections.filterRejections([{ envelope: first!.envelope, verdict: ack }], 'request');
    expect(rejections.isHeld(first!.envelope.id)).toBe(false);
    filter(31, wrong);
    expect(rejections.isActive).toBe(true);
  });

  it('still lets them pass after another envelope was delivered', () => {
    const { rejections, filter } = createUnderTest();
    filter(40, wrong);
    filter(1, ack);
    filter(1, ack);
    filter(31, wrong);
    expect(rejections.isActive).toBe(false);
  });

  it('holds an envelope until it is settled for good', () => {
    const { rejections, filter } = createUnderTest();
    const [first, second] = filter(40, wrong).settled.map(({ envelope }) => envelope);
    filter(1, ack);
    rejections.filterRejections(
      [
        { envelope: first!, verdict: retry() },
        { envelope: second!, verdict: wrong },
      ],
      'request',
    );
    expect([first!, second!].map(({ id }) => rejections.isHeld(id))).toEqual([true, false]);
  });

  it('keeps the pause that import jobs began although requests are accepted', () => {
    const { rejections, ends, filter } = createUnderTest();
    filter(31, wrong, 'job');
    filter(1, { kind: 'poll', ref: 'job-1' });
    expect(rejections.isActive).toBe(true);
    filter(1, ack, 'job');
    expect([rejections.isActive, ends.length]).toEqual([false, 1]);
  });

  it('leaves the verdicts of other envelopes of the request as they are', () => {
    const { rejections } = createUnderTest();
    const old = deadLetter('too_old');
    const settled = [...settledAs(someItems(31), wrong), ...settledAs(someItems(1), old)];
    const filtered = rejections.filterRejections(settled, 'request');
    expect(filtered.settled.at(-1)).toEqual(settled.at(-1));
    expect(rejections.isHeld(settled.at(-1)!.envelope.id)).toBe(false);
  });

  it('holds all parts of a batch for the reason of the pause', () => {
    const { rejections, filter } = createUnderTest();
    filter(31, wrong);
    const items = someItems(2);
    const reason = aReason({ code: 'invalid_email' });
    expect(rejections.holdAll(items)).toEqual(
      settledAs(items, { kind: 'retry', afterMs: 0, reason, countAttempt: false }),
    );
    expect(items.flat().every(({ id }) => rejections.isHeld(id))).toBe(true);
  });

  it('lets everything pass that is held or waits when an operator overrides the pause, and only then', () => {
    const { rejections, filter } = createUnderTest();
    rejections.override(100);
    filter(40, wrong);
    expect(rejections.isActive).toBe(true);
    rejections.override(10);
    expect(rejections.isActive).toBe(false);
    filter(50, wrong);
    expect(rejections.isActive).toBe(false);
    filter(1, wrong);
    expect(rejections.isActive).toBe(true);
  });

  it('logs the beginning of the pause once, with the reason and without the data of the record', () => {
    const { logged, filter } = createUnderTest();
    const reason = { code: 'rejected', detail: 'ada@example.org is not valid' };
    filter(31, { kind: 'dead-letter', reason });
    filter(31, { kind: 'dead-letter', reason });
    expect(logged).toEqual([
      'lane events paused: refusal: rejected: Klaviyo rejects everything for one reason; all of it is kept and tried again, and POST /v1/lanes/events/resume accepts the dead letters: [email] is not valid',
    ]);
  });
});
