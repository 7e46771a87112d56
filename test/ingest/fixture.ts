import type { Draft } from '../../src/model/envelope.js';
import { dedupedLane, type PostedLane } from '../../src/model/lane.js';
import { createAccept, type AcceptDeps, type ManyOptions } from '../../src/ingest/accept.js';
import type { Store } from '../../src/model/store.js';
import { createMetrics } from '../../src/metrics.js';
import { createManualClock } from '../support/manual-clock.js';
import { newestRules } from '../support/revisions.js';

/** 2026-01-15T12:00:00.000Z, where the manual clock starts. */
export const receivedAt = Date.UTC(2026, 0, 15, 12);

/** Accepts all facts. */
export const putFacts: Store['putFacts'] = () => Promise.resolve({ ok: true });
export const getFacts: Store['getFacts'] = (keys) => Promise.resolve(keys.map(() => null));

/** Creates the intake over a store that accepts and keeps all drafts. */
export function createFixture(overrides: Partial<AcceptDeps> = {}) {
  const metrics = createMetrics('test');
  const appended: (readonly Draft[])[] = [];
  const keys = new Set<string>();
  const append: Store['append'] = (drafts) => {
    appended.push(drafts);
    const envelopes = drafts.map((draft, index) => {
      const isRepeat = draft.keys.some((key) => keys.has(key));
      const duplicate = draft.lane === dedupedLane && isRepeat;
      for (const key of draft.keys) keys.add(key);
      return { id: `env-${appended.length}-${index}`, duplicate };
    });
    return Promise.resolve({ ok: true, envelopes });
  };
  let generated = 0;
  const { one, many } = createAccept({
    store: { append, putFacts, getFacts },
    clock: createManualClock(receivedAt),
    eventRules: () => newestRules,
    backfillAfterMs: Infinity,
    metrics,
    newId: () => `made-${++generated}`,
    ...overrides,
  });
  const counted = async (name: 'ingest' | 'ingestBackfilled' | 'ingestWarnings') => {
    const { values } = await metrics[name].get();
    // Series with known labels exist from the start with the value 0.
    return values
      .filter(({ value }) => value > 0)
      .map(({ labels, value }) => ({ ...labels, value }));
  };
  const accept = {
    one,
    many: (lane: PostedLane, body: string, options: ManyOptions) =>
      many(lane, Buffer.from(body), options),
  };
  return { accept, appended, counted, drafts: () => appended.flat() };
}

/** A valid event with the changes of a test. */
export const anEvent = (overrides: object = {}): object => ({
  event_name: 'Placed Order',
  email: 'ada@klaviyo-demo.com',
  ...overrides,
});

export const aProfile = (overrides: object = {}): object => ({
  email: 'ada@klaviyo-demo.com',
  ...overrides,
});

export function toJson(payload: Uint8Array | undefined): unknown {
  return JSON.parse(new TextDecoder().decode(payload));
}
