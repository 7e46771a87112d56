import { afterEach, describe, expect, it } from 'vitest';
import { LanePauses } from '../../src/delivery/lane-state.js';
import { RejectionProber, UniformRejections } from '../../src/delivery/uniform-rejections.js';
import type { BatchItem } from '../../src/model/envelope.js';
import type { Limiter } from '../../src/model/limiter.js';
import type { SettledEnvelope } from '../../src/model/store.js';
import {
  ack,
  anEnvelope,
  anItem,
  aReason,
  deadLetter,
  settledAs,
  someItems,
  toText,
} from '../support/builders.js';
import { createManualClock, settlePromises } from '../support/manual-clock.js';

const wrong = deadLetter('invalid_email');
const reason = aReason({ code: 'invalid_email' });

const namesOf = (items: readonly BatchItem[]): readonly string[] => items.flat().map(toText);

type Settings = {
  readonly random?: () => number;
  /** Runs before each settlement. */
  readonly beforeSettle?: () => Promise<void>;
};

/** A prober of a lane that rejects everything since `0`. The limiter grants permits while it is open. */
function startProber({ random = () => 0, beforeSettle }: Settings = {}) {
  const clock = createManualClock();
  const stop = new AbortController();
  const log = { info: () => undefined, warn: () => undefined };
  const pauses = new LanePauses({ lane: 'events', clock, log });
  const uniformRejections = new UniformRejections({
    lane: 'events',
    clock,
    pauses,
    onEnd: () => prober.wake(),
  });
  const health = { isDown: false };
  const probes: { readonly at: number; readonly names: readonly string[] }[] = [];
  const settled: SettledEnvelope[] = [];
  const errors: unknown[] = [];
  const permits = { granted: 0, cancelled: 0 };
  const gate = { opened: Promise.resolve(), open: (): void => undefined };
  const limiter: Limiter = {
    async acquire(_endpoint, signal) {
      await gate.opened;
      if (signal.aborted) return null;
      permits.granted++;
      const cancel = (): void => {
        permits.cancelled++;
      };
      return { end: () => undefined, cancel };
    },
    pause: () => undefined,
    tokens: () => 0,
  };
  const prober: RejectionProber = new RejectionProber({
    lane: 'events',
    store: {
      async settle(settlement) {
        await beforeSettle?.();
        settled.push(...settlement.settled);
      },
    },
    limiter,
    pauses,
    health,
    uniformRejections,
    clock,
    random,
    signal: stop.signal,
    send(items) {
      probes.push({ at: clock.monotonic(), names: namesOf(items) });
      return Promise.resolve();
    },
    onFatal: (error) => void errors.push(error),
  });
  const hold = <T extends readonly BatchItem[]>(items: T): T => {
    uniformRejections.filterRejections(settledAs(items, wrong), 'request');
    return items;
  };
  hold(someItems(31));
  const parts = { clock, stop, pauses, uniformRejections, health, prober };
  return {
    ...parts,
    probes,
    settled,
    errors,
    permits,
    /** Rejects these items once, so that they are held. */
    hold,
    /** From now on a permit is granted only after `gate.open`. */
    closeGate() {
      gate.opened = new Promise((resolve) => (gate.open = resolve));
    },
    openGate: () => gate.open(),
    accept: () => void uniformRejections.filterRejections(settledAs(someItems(1), ack), 'request'),
  };
}

type UnderTest = ReturnType<typeof startProber>;
const started: UnderTest[] = [];
const start = (settings?: Settings): UnderTest => {
  const under = startProber(settings);
  started.push(under);
  return under;
};
afterEach(async () => {
  for (const { stop, prober, clock, openGate } of started.splice(0)) {
    stop.abort();
    openGate();
    await prober.idle();
    expect(clock.pending()).toBe(0);
  }
});

/** Ids and verdicts: comparing payloads of megabytes takes long. */
const toVerdicts = (settled: readonly SettledEnvelope[]) =>
  settled.map(({ envelope, verdict }) => ({ id: envelope.id, verdict }));

const returned = (items: readonly BatchItem[], afterMs: number) =>
  toVerdicts(settledAs(items, { kind: 'retry', afterMs, reason, countAttempt: false }));

describe('during uniform rejections, the prober', () => {
  it('keeps the claimed items that were rejected, and lets those pass that were never tried', async () => {
    const { prober, hold, settled } = start();
    const [held, fresh] = [hold(someItems(2)), someItems(2)];
    expect(await prober.keep([fresh[0]!, ...held, fresh[1]!])).toEqual(fresh);
    expect(settled).toEqual([]);
  });

  it('lets a merged item pass if a part of it was never tried', async () => {
    const { prober, hold } = start();
    const [rejected] = hold([anItem('rejected')]);
    const items: readonly BatchItem[] = [[rejected[0], anEnvelope({ text: 'new' })]];
    expect(await prober.keep(items)).toEqual(items);
  });

  it('sends at most ten items as a probe, and the next ones an interval later', async () => {
    const { clock, prober, hold, probes } = start();
    await prober.keep(hold(someItems(12)));
    await clock.advance(999);
    expect(probes).toEqual([]);
    await clock.advance(1);
    expect(probes).toMatchObject([{ at: 1000 }]);
    await clock.advance(999);
    expect(probes).toHaveLength(1);
    await clock.advance(10_000);
    expect(probes.map(({ at, names }) => [at, names.length])).toEqual([
      [1000, 10],
      [2000, 2],
    ]);
  });

  it.each([0, 0.3, 0.5, 0.999])(
    'sends each kept item exactly once, wherever it draws them (at %d)',
    async (at) => {
      const { clock, prober, hold, probes } = start({ random: () => at });
      const items = hold(someItems(25));
      await prober.keep(items);
      await clock.advance(60_000);
      expect(probes.flatMap(({ names }) => names).sort()).toEqual([...namesOf(items)].sort());
      await prober.idle();
    },
  );

  it('draws the items of a probe evenly from all that it keeps', async () => {
    const numbers = [0.5, 0, 0.75];
    const { clock, prober, hold, probes } = start({ random: () => numbers.shift() ?? 0 });
    await prober.keep(hold([anItem('a'), anItem('b'), anItem('c'), anItem('d')]));
    await clock.advance(1000);
    expect(probes[0]?.names.slice(0, 2)).toEqual(['c', 'a']);
  });

  it('sends no probe while an operator pauses the lane, and goes on afterwards', async () => {
    const { clock, prober, pauses, hold, probes, permits } = start();
    pauses.begin('by_hand', aReason());
    await prober.keep(hold(someItems(1)));
    await clock.advance(60_000);
    expect([probes, permits.granted]).toEqual([[], 0]);
    pauses.end('by_hand');
    await clock.advance(0);
    expect(probes).toHaveLength(1);
  });

  it('gives its permit back if an operator pauses the lane before it is granted', async () => {
    const { clock, prober, pauses, hold, probes, permits, closeGate, openGate } = start();
    closeGate();
    await prober.keep(hold(someItems(1)));
    await clock.advance(1000);
    pauses.begin('by_hand', aReason());
    openGate();
    await clock.advance(10_000);
    expect([probes, permits]).toEqual([[], { granted: 1, cancelled: 1 }]);
  });

  it('keeps at most 64 MB of payloads, and returns further items for a minute', async () => {
    const { clock, prober, hold, settled, probes } = start();
    const payload = new Uint8Array(32_000_000);
    const ofHalf = (): BatchItem => [{ ...anEnvelope(), payload }];
    const [first, second, third, fourth] = hold([ofHalf(), ofHalf(), ofHalf(), ofHalf()] as const);
    const fresh = someItems(1);
    expect(await prober.keep([first, second, third, ...fresh])).toEqual(fresh);
    expect(toVerdicts(settled)).toEqual(returned([third], 60_000));
    await clock.advance(1000);
    expect(probes).toHaveLength(1);
    // The probe made space for both.
    expect(await prober.keep([third, fourth])).toEqual([]);
    expect(settled).toHaveLength(1);
  });
});

describe('all kept items', () => {
  it('return to the store and are due at once when Klaviyo accepts something', async () => {
    const { clock, prober, hold, settled, probes, accept } = start();
    const items = hold(someItems(12));
    await prober.keep(items);
    await clock.advance(500);
    accept();
    await settlePromises();
    expect(toVerdicts(settled)).toEqual(returned(items, 0));
    await prober.idle();
    expect(probes).toEqual([]);
  });

  it('return to the store when the relay stops', async () => {
    const { stop, prober, hold, settled } = start();
    const items = hold(someItems(3));
    await prober.keep(items);
    stop.abort();
    await prober.idle();
    expect(toVerdicts(settled)).toEqual(returned(items, 0));
  });

  it('return to the store when the relay stops before a permit is granted', async () => {
    const { clock, stop, prober, hold, settled, probes, closeGate, openGate } = start();
    closeGate();
    const items = hold(someItems(3));
    await prober.keep(items);
    await clock.advance(1000);
    stop.abort();
    openGate();
    await prober.idle();
    expect([toVerdicts(settled), probes]).toEqual([returned(items, 0), []]);
  });

  it('return to the store, and the permit too, if the pause ends before it is granted', async () => {
    const { clock, prober, hold, settled, probes, permits, accept, closeGate, openGate } = start();
    closeGate();
    const items = hold(someItems(3));
    await prober.keep(items);
    await clock.advance(1000);
    accept();
    openGate();
    await prober.idle();
    expect([toVerdicts(settled), probes]).toEqual([returned(items, 0), []]);
    expect(permits).toEqual({ granted: 1, cancelled: 1 });
  });

  it('include those that come while the others return', async () => {
    let isFirst = true;
    const more = someItems(2);
    const under = start({
      async beforeSettle() {
        if (!isFirst) return;
        isFirst = false;
        under.hold(someItems(31));
        under.hold(more);
        await under.prober.keep(more);
        under.accept();
      },
    });
    const items = under.hold(someItems(1));
    await under.prober.keep(items);
    under.accept();
    await under.prober.idle();
    expect(under.settled.map(({ envelope }) => envelope)).toEqual([...items, ...more].flat());
  });

  it('count no more for the 64 MB once they returned', async () => {
    const { prober, hold, settled, accept } = start();
    const payload = new Uint8Array(64_000_000);
    const [first, second] = [[{ ...anEnvelope(), payload }], [{ ...anEnvelope(), payload }]] as [
      BatchItem,
      BatchItem,
    ];
    await prober.keep(hold([first]));
    accept();
    await prober.idle();
    hold(someItems(40));
    hold([second]);
    await prober.keep([second]);
    expect(toVerdicts(settled)).toEqual(returned([first], 0));
  });
});

describe('the prober keeps nothing', () => {
  it('while there are no uniform rejections', async () => {
    const { prober, hold, accept } = start();
    const items = hold(someItems(2));
    accept();
    expect(await prober.keep(items)).toEqual(items);
  });

  it('in an outage, since the lane sends small probes itself', async () => {
    const { prober, health, hold } = start();
    const items = hold(someItems(2));
    health.isDown = true;
    expect(await prober.keep(items)).toEqual(items);
  });

  it('if no claimed item was rejected before', async () => {
    const { prober, clock, permits } = start();
    const items = someItems(2);
    expect(await prober.keep(items)).toEqual(items);
    await clock.advance(60_000);
    expect(permits.granted).toBe(0);
  });
});

it('an error of the store is fatal for the lane, and the prober can be stopped afterwards', async () => {
  const failure = new Error('the store is gone');
  const { stop, prober, hold, errors } = start({ beforeSettle: () => Promise.reject(failure) });
  await prober.keep(hold(someItems(1)));
  stop.abort();
  await prober.idle();
  expect(errors).toEqual([failure]);
});
