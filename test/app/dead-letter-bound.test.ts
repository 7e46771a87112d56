import { pino } from 'pino';
import { describe, expect, it } from 'vitest';
import { createMetrics } from '../../src/metrics.js';
import { restoreCounters } from '../../src/app/state-metrics.js';
import { boundDeadLetters, type DeadLetterBoundOptions } from '../../src/app/dead-letter-bound.js';
import { readLaneCounts, startRelay } from '../support/relay.js';
import { aReason, deadLetter, settledAs, someEvents } from '../support/builders.js';
import { append, claim } from '../store/contract/harness.js';
import { openTestJournal } from '../store/journal/under-test.js';

describe('the dead letter alarm', () => {
  async function openWatched(overflow: DeadLetterBoundOptions['overflow']) {
    const logged: string[] = [];
    const log = pino({ level: 'info' }, { write: (line: string) => void logged.push(line) });
    const under = await openTestJournal({ maxDeadLetters: 10 });
    const { store, clock } = under;
    const full: boolean[] = [];
    const onFull = (reason: unknown): void => void full.push(reason !== null);
    const options = { store, maxCount: 10, overflow, clock, log, onFull };
    const watch = boundDeadLetters(options);
    watch.start();
    const deadLetterMore = async (count: number): Promise<void> => {
      await append(store, someEvents(count));
      const settled = settledAs(await claim(store), deadLetter());
      await watch.store.settle({ lane: 'events', settled });
    };
    const close = async (): Promise<void> => {
      watch.close();
      await under.close();
      expect(clock.pending()).toBe(0);
    };
    return { ...under, watch, logged, full, deadLetterMore, close };
  }

  it.each([
    ['pause', 'or delivery pauses there'],
    ['drop-oldest', 'or the oldest will be dropped'],
  ] as const)(
    'is logged once near the bound with the consequence of %s, and again after the number was low',
    async (overflow, words) => {
      const { store, dropped, logged, deadLetterMore, close } = await openWatched(overflow);
      await deadLetterMore(7);
      expect(logged).toEqual([]);
      await deadLetterMore(1);
      expect(logged).toHaveLength(1);
      expect(JSON.parse(logged[0]!)).toMatchObject({ level: 50, deadLetters: 8, maxCount: 10 });
      expect(logged[0]).toContain(words);
      await deadLetterMore(1);
      expect(logged).toHaveLength(1);
      expect(dropped).toEqual([]);
      await store.discard({}, { dryRun: false });
      await deadLetterMore(1);
      await deadLetterMore(8);
      expect(logged).toHaveLength(2);
      await close();
    },
  );

  it('is also logged for dead letters at intake', async () => {
    const { watch, logged, close } = await openWatched('pause');
    const aDeadLetters = (count: number) =>
      someEvents(count).map((draft) => ({ ...draft, deadLetterReason: aReason() }));
    await watch.store.append(aDeadLetters(7));
    expect(logged).toEqual([]);
    expect((await watch.store.append([...someEvents(1), ...aDeadLetters(1)])).ok).toBe(true);
    expect(JSON.parse(logged[0]!)).toMatchObject({ level: 50, deadLetters: 8, maxCount: 10 });
    await close();
  });

  it('pauses delivery at the bound until there is capacity again', async () => {
    const { store, clock, watch, full, deadLetterMore, close } = await openWatched('pause');
    await deadLetterMore(9);
    expect(full).toEqual([]);
    await deadLetterMore(1);
    expect(full).toEqual([true]);
    const [draft] = someEvents(1);
    const unsendable = { ...draft!, deadLetterReason: aReason() };
    expect(await watch.store.append([draft!, unsendable])).toEqual({
      ok: false,
      backpressure: { reason: 'dead_letters', retryAfterMs: 10_000 },
    });
    expect((await watch.store.append([draft!])).ok).toBe(true);
    await store.discard({}, { dryRun: false });
    await clock.advance(250);
    expect(full).toEqual([true, false]);
    expect((await watch.store.append([unsendable])).ok).toBe(true);
    await close();
  });

  it('does not pause delivery with drop-oldest', async () => {
    const { watch, dropped, full, deadLetterMore, close } = await openWatched('drop-oldest');
    await deadLetterMore(11);
    expect(full).toEqual([]);
    expect(dropped).toHaveLength(1);
    const [draft] = someEvents(1);
    expect((await watch.store.append([{ ...draft!, deadLetterReason: aReason() }])).ok).toBe(true);
    await close();
  });
});

describe('the counters of accepted and settled envelopes', () => {
  it('continue from the history of the journal', async () => {
    const metrics = createMetrics('test');
    const history = { accepted: 10, delivered: 4, merged: 3, deadLettered: 2, erased: 0 };
    restoreCounters(metrics, { laneTotals: () => ({ ...history, erased: 0 }) });
    expect(readLaneCounts(await metrics.registry.metrics()).profiles).toEqual({
      ...history,
      buffered: 0,
    });
  });
});

describe('an import job that stays open', () => {
  it('is shown in the readiness detail and in the metrics until it ends', async () => {
    const relay = await startRelay({ sandbox: { importDelayMs: 60_000 } });
    const scrape = async (): Promise<string> => relay.app.metrics.registry.metrics();
    const check = async (): Promise<unknown> =>
      ((await relay.get('/readyz')).body.checks as Record<string, unknown>).klaviyo_profiles;
    await relay.post('/v1/profiles', { email: 'a@klaviyo-demo.com' });
    await relay.until('the job is open', async () =>
      (await scrape()).includes('relay_import_jobs_open 1\n'),
    );
    expect(await check()).toEqual({ ok: true });
    const openedAt = relay.clock.monotonic();
    await relay.until('it is open for long', () => relay.clock.monotonic() - openedAt >= 30_000);
    expect(await check()).toEqual({
      ok: true,
      detail: expect.stringMatching(/^open import jobs: 1, the oldest for 3\d s$/) as string,
    });
    expect(await scrape()).toMatch(/^relay_import_jobs_oldest_age_seconds 3\d(\.\d+)?$/m);
    await relay.untilSettled();
    expect(await check()).toEqual({ ok: true });
    expect(await scrape()).toMatch(/^relay_import_jobs_oldest_age_seconds 0$/m);
    await relay.stop();
  });
});
