import { describe, expect, it } from 'vitest';
import { LanePauses } from '../../src/delivery/lane-state.js';
import { delivered, someEvents, startMs, throttled, unattributed } from '../support/builders.js';
import { createManualClock } from '../support/manual-clock.js';
import { useEngines } from './fixture.js';

const start = useEngines();

function createPauses() {
  const clock = createManualClock();
  const lines: string[] = [];
  const write = (level: string) => (_fields: object, text: string) =>
    void lines.push(`${level} ${text}`);
  const log = { info: write('info'), warn: write('warn') };
  return { clock, lines, pauses: new LanePauses({ lane: 'events', clock, log }) };
}

const outage = { code: 'unavailable', detail: 'Klaviyo answered 503' };

describe('the pauses of a lane', () => {
  it('are logged in one line each, with advice and duration', async () => {
    const { clock, lines, pauses } = createPauses();
    const reason = { code: 'auth', detail: 'Incorrect credentials' };
    pauses.begin('blocked', reason, { advice: 'unauthorized: check KLAVIYO_API_KEY' });
    pauses.begin('blocked', reason);
    await clock.advance(42_100);
    pauses.end('blocked');
    pauses.end('blocked');
    expect(lines).toEqual([
      'warn lane events paused: unauthorized: check KLAVIYO_API_KEY: Incorrect credentials',
      'info lane events resumed after 42 s',
    ]);
  });

  it('keep their beginning and show the newest reason', async () => {
    const { clock, pauses } = createPauses();
    pauses.begin('outage', outage);
    await clock.advance(1000);
    pauses.begin('outage', { code: 'timeout', detail: 'no answer in time' });
    expect(pauses.list()).toEqual([
      { kind: 'outage', since: startMs, reason: { code: 'timeout', detail: 'no answer in time' } },
    ]);
  });

  it('redact what Klaviyo quotes of a record', () => {
    const { lines, pauses } = createPauses();
    pauses.begin('outage', { code: 'rejected', detail: 'ada@example.org is not valid' });
    expect(lines[0]).toContain('[email] is not valid');
  });

  it('replace one another without a log line about a resumed lane', async () => {
    const { clock, lines, pauses } = createPauses();
    pauses.begin('throttled', { code: 'throttled', detail: 'Klaviyo answered 429' });
    await clock.advance(400);
    pauses.begin('outage', outage, { replaces: ['throttled', 'outage'] });
    await clock.advance(500);
    pauses.end('outage', 'throttled');
    expect(lines).toEqual([
      'info lane events paused: throttled: Klaviyo answered 429',
      'warn lane events paused: outage: unavailable: Klaviyo answered 503',
      'info lane events resumed after 0.9 s',
    ]);
  });

  it.each([
    [9940, '9.9 s'],
    [12_345, '12 s'],
  ])('log a duration of %i ms, from the beginning of the first pause, as %s', async (ms, text) => {
    const { clock, lines, pauses } = createPauses();
    await clock.advance(5000);
    pauses.begin('throttled', outage);
    await clock.advance(ms - 10);
    pauses.begin('outage', outage, { replaces: ['throttled'] });
    await clock.advance(10);
    pauses.end('outage');
    expect(lines.at(-1)).toBe(`info lane events resumed after ${text}`);
  });

  it('are logged with their name, unless the advice on a blocked lane begins with what is wrong', () => {
    const { lines, pauses } = createPauses();
    pauses.begin('blocked', { code: 'auth', detail: 'Incorrect credentials' });
    pauses.begin(
      'refusal',
      { code: 'refusal', detail: 'Invalid email' },
      { advice: 'all of it is kept' },
    );
    expect(lines).toEqual([
      'warn lane events paused: blocked: auth: Incorrect credentials',
      'warn lane events paused: refusal: all of it is kept: Invalid email',
    ]);
  });

  it('log which pauses are left when only one of several ends', () => {
    const { lines, pauses } = createPauses();
    pauses.begin('by_hand', { code: 'by_hand', detail: 'an operator paused it' });
    pauses.begin('outage', outage);
    pauses.end('outage');
    expect(lines.at(-1)).toBe('info lane events still paused: by hand; ended: outage');
    expect(pauses.list().map(({ kind }) => kind)).toEqual(['by_hand']);
  });

  it.each(['by_hand', 'dead_letters_full'] as const)(
    'stop all requests if one of them is %s',
    (kind) => {
      const { pauses } = createPauses();
      expect(pauses.isStopped).toBe(false);
      pauses.begin(kind, outage);
      expect(pauses.isStopped).toBe(true);
      pauses.end(kind);
      expect(pauses.isStopped).toBe(false);
    },
  );
});

describe('a lane that an operator paused', () => {
  it('accepts envelopes, sends nothing, and continues when it is resumed', async () => {
    const { engine, store, requests, append, advance } = await start(() => delivered);
    engine.pause('events');
    await append(someEvents(250));
    await advance(60_000);
    expect(requests).toEqual([]);
    expect(engine.pauses()).toMatchObject({
      events: [{ kind: 'by_hand', reason: { code: 'by_hand' } }],
      profiles: [],
    });
    engine.resume('events');
    await advance(1000);
    expect(requests.map(({ texts }) => texts.length)).toEqual([100, 100, 50]);
    expect(store.depth('events').count).toBe(0);
  });

  it('sends no further part of a split batch, and loses none', async () => {
    const { engine, store, requests, append, advance } = await start(
      (_text, { texts }) => (texts.length > 10 ? unattributed('bisect') : delivered),
      { latencyMs: 1000 },
    );
    await append(someEvents(80));
    await advance(1500);
    engine.pause('events');
    await advance(60_000);
    const { length } = requests;
    expect(length).toBeLessThan(4);
    expect(store.depth('events').count).toBe(80);
    engine.resume('events');
    await advance(60_000);
    expect(store.depth('events').count).toBe(0);
  });

  it('stays paused after the end of a throttled pause', async () => {
    const { engine, store, requests, append, advance } = await start(
      (_text, _request, number) => (number === 1 ? throttled(5000) : delivered),
      { latencyMs: 100 },
    );
    await append(someEvents(10));
    await advance(250);
    engine.pause('events');
    await advance(60_000);
    expect(requests).toHaveLength(1);
    expect(store.depth('events').count).toBe(10);
    engine.resume('events');
    await advance(5000);
    expect(store.depth('events').count).toBe(0);
    expect(engine.pauses().events).toEqual([]);
  });

  it('stops waiting when the relay stops', async () => {
    const { engine, append, advance } = await start(() => delivered);
    engine.pause('events');
    await append(someEvents(1));
    await advance(1000);
  });
});
