import { describe, expect, it } from 'vitest';
import { isBackfilled } from '../../src/model/backfill.js';
import type { Draft } from '../../src/model/envelope.js';
import type { Fact } from '../../src/model/fact.js';
import type { Store } from '../../src/model/store.js';
import {
  createAcceptFromSource,
  type FromSourceDeps,
} from '../../src/ingest/accept-from-source.js';
import { SourceActivity } from '../../src/ingest/source-activity.js';
import type { KnownPerson, SourceEntry, SourcePost } from '../../src/ingest/source-entry.js';
import { createMetrics } from '../../src/metrics.js';
import { createManualClock } from '../support/manual-clock.js';
import { receivedAt, toJson } from './fixture.js';
import { newestRules } from '../support/revisions.js';

const full = { reason: 'full', retryAfterMs: 1500 } as const;
const lenient = { strict: false };

/** Over a store that takes everything, and remembers. */
function createFixture(overrides: Partial<FromSourceDeps> = {}) {
  const metrics = createMetrics('test');
  const facts = new Map<string, string>();
  const drafts: Draft[] = [];
  const append: Store['append'] = (given) => {
    drafts.push(...given);
    return Promise.resolve({
      ok: true,
      envelopes: given.map((_, index) => ({ id: String(index), duplicate: false })),
    });
  };
  const putFacts = (given: readonly Fact[]) => {
    for (const { key, value } of given) facts.set(key, value);
    return Promise.resolve({ ok: true } as const);
  };
  const getFacts = (keys: readonly string[]) =>
    Promise.resolve(keys.map((key) => facts.get(key) ?? null));
  let made = 0;
  const accept = createAcceptFromSource({
    store: { append, putFacts, getFacts, ...overrides.store },
    clock: createManualClock(receivedAt),
    eventRules: () => newestRules,
    backfillAfterMs: overrides.backfillAfterMs ?? Infinity,
    metrics,
    activity: new SourceActivity({ clock: createManualClock(receivedAt), metrics }),
    newId: () => `made-${++made}`,
    ...(overrides.applyMapping && { applyMapping: overrides.applyMapping }),
  });
  const counted = async (name: 'ingest' | 'ingestBackfilled' | 'settled' | 'sourceSkipped') =>
    (await metrics[name].get()).values
      .filter(({ value }) => value > 0)
      .map(({ labels, value }) => [...Object.values(labels), value].join(' '));
  return { accept, drafts, facts, counted, store: { append, putFacts, getFacts } };
}

const aPost = (overrides: Partial<SourcePost> = {}): SourcePost => ({
  source: 'shopify',
  entries: [],
  people: [],
  skipped: [],
  ...overrides,
});

const aRefund = (overrides: Partial<SourceEntry> = {}): SourceEntry => ({
  lane: 'events',
  index: 0,
  entry: { event_name: 'Refunded Order', insert_id: 'refund-1', value: 5 },
  personKeys: ['order-1'],
  ...overrides,
});

const aProfile: SourceEntry = {
  lane: 'profiles',
  index: 1,
  entry: { email: 'ada@klaviyo-demo.com' },
};

const knownFrom: KnownPerson = {
  kind: 'order',
  key: 'order-1',
  person: { email: 'ada@klaviyo-demo.com', distinct_id: '7' },
};

describe("accepting a source's post", () => {
  it('appends events and profiles together, mapped as if a caller had posted them', async () => {
    const { accept, drafts, counted } = createFixture();
    const event = aRefund({
      entry: { event_name: 'Viewed', distinct_id: '7', insert_id: 'a' },
      personKeys: [],
    });
    expect(await accept(aPost({ entries: [event, aProfile] }), lenient)).toEqual({
      kind: 'accepted',
      accepted: 2,
      duplicates: 0,
      waiting: 0,
      warnings: [],
      rejected: [],
      repeat: false,
    });
    expect(drafts.map(({ lane }) => lane)).toEqual(['events', 'profiles']);
    expect(toJson(drafts[1]?.payload)).toEqual({
      type: 'profile',
      attributes: { email: 'ada@klaviyo-demo.com' },
    });
    expect(await counted('ingest')).toEqual(['events accepted 1', 'profiles accepted 1']);
  });

  it('counts skipped parts by reason', async () => {
    const { accept, counted } = createFixture();
    await accept(
      aPost({ skipped: [{ reason: 'group' }, { reason: 'alias' }, { reason: 'group' }] }),
      lenient,
    );
    expect(await counted('sourceSkipped')).toEqual(['shopify group 2', 'shopify alias 1']);
  });

  it('applies the mapping file to mapped entries', async () => {
    const { accept, drafts } = createFixture({
      applyMapping: (post) => ({ ...post, entries: [] }),
    });
    await accept(aPost({ entries: [aProfile] }), lenient);
    expect(drafts).toEqual([]);
  });

  it('does not apply the mapping file again when an entry is ingested again', async () => {
    const { accept, drafts } = createFixture({
      applyMapping: (post) => ({ ...post, entries: [] }),
    });
    await accept(aPost({ entries: [aProfile] }), { strict: true, isReingest: true });
    expect(drafts).toHaveLength(1);
  });
});

describe('the person of an entry', () => {
  it('is identified by an earlier request', async () => {
    const { accept, drafts } = createFixture();
    await accept(aPost({ people: [knownFrom] }), lenient);
    expect(await accept(aPost({ entries: [aRefund()] }), lenient)).toMatchObject({ accepted: 1 });
    expect(JSON.stringify(toJson(drafts[0]?.payload))).toContain(
      '{"type":"profile","attributes":{"email":"ada@klaviyo-demo.com","external_id":"7"}}',
    );
  });

  it('is identified by the same request', async () => {
    const { accept, drafts } = createFixture();
    await accept(aPost({ people: [knownFrom], entries: [aRefund()] }), lenient);
    expect(drafts[0]?.deadLetterReason).toBeUndefined();
  });

  it('is not identified by another source that uses the same key', async () => {
    const { accept, drafts } = createFixture();
    await accept(aPost({ people: [knownFrom] }), lenient);
    await accept(aPost({ source: 'stripe', entries: [aRefund()] }), lenient);
    expect(drafts[0]?.deadLetterReason).toMatchObject({ code: 'unknown_person' });
  });

  it('keeps its own id and is completed with the address', async () => {
    const { accept, drafts } = createFixture();
    await accept(aPost({ people: [knownFrom] }), lenient);
    const own = aRefund({ entry: { ...aRefund().entry, distinct_id: '8' } });
    await accept(aPost({ entries: [own] }), lenient);
    expect(JSON.stringify(toJson(drafts[0]?.payload))).toContain(
      '{"email":"ada@klaviyo-demo.com","external_id":"8"}',
    );
  });

  it('is not completed if the entry has its own address, because it may be another person', async () => {
    const { accept, drafts } = createFixture();
    await accept(aPost({ people: [knownFrom] }), lenient);
    const own = aRefund({ entry: { ...aRefund().entry, email: 'grace@klaviyo-demo.com' } });
    await accept(aPost({ entries: [own] }), lenient);
    const text = JSON.stringify(toJson(drafts[0]?.payload));
    expect(text).toContain('grace@klaviyo-demo.com');
    expect(text).not.toContain('external_id');
  });

  it('does not become a fact if no identifier is valid', async () => {
    const { accept, facts } = createFixture();
    await accept(
      aPost({
        people: [
          { kind: 'user', key: 'a', person: {} },
          { kind: 'user', key: 'b', person: { email: '' } },
          { kind: 'user', key: 'ada@klaviyo-demo.com', person: { distinct_id: '7' } },
        ],
      }),
      lenient,
    );
    expect([...facts.values()]).toEqual(['{"distinct_id":"7"}']);
    expect([...facts.keys()].join()).not.toContain('ada');
  });
});

describe('a backfilled event of a source', () => {
  const dayMs = 86_400_000;
  const refundAt = (ageMs: number, insert_id: string) =>
    aRefund({
      entry: {
        ...aRefund().entry,
        ...{ insert_id, distinct_id: 'c1', event_time: new Date(receivedAt - ageMs).toISOString() },
      },
    });

  it('is one that was older than BACKFILL_AFTER when it was first accepted', async () => {
    const { accept, drafts, counted } = createFixture({ backfillAfterMs: dayMs });
    await accept(aPost({ entries: [refundAt(dayMs, 'a'), refundAt(dayMs + 1, 'b')] }), lenient);
    const again = { ...lenient, isReingest: true };
    const firstAcceptedAt = receivedAt - 3 * dayMs;
    const ingestedAgain = [refundAt(4 * dayMs, 'c'), refundAt(4 * dayMs + 1, 'd')];
    await accept(aPost({ entries: ingestedAgain, firstAcceptedAt }), again);
    const isThere = drafts.map(({ payload }) => isBackfilled('events', payload));
    expect(isThere).toEqual([false, true, false, true]);
    expect(await counted('ingestBackfilled')).toEqual(['2']);
  });

  it('is not an entry that became a dead letter at intake, whatever bytes its payload ends with', async () => {
    const { accept, drafts, counted } = createFixture({ backfillAfterMs: dayMs });
    const properties = { a: [{ b: { c: 1, backfill: true } }] };
    const entry = { ...aRefund().entry, event_time: 'once', insert_id: 'x', properties };
    await accept(aPost({ entries: [aRefund({ entry })] }), lenient);
    expect(drafts[0]?.deadLetterReason).toBeDefined();
    expect(isBackfilled('events', drafts[0]!.payload)).toBe(true);
    expect(await counted('ingestBackfilled')).toEqual([]);
  });
});

describe('an entry that cannot be sent as it stands', () => {
  it('becomes a dead letter with everything that is needed to ingest it again', async () => {
    const { accept, drafts, counted } = createFixture();
    expect(await accept(aPost({ entries: [aRefund(), aProfile] }), lenient)).toMatchObject({
      kind: 'accepted',
      accepted: 1,
      rejected: [{ index: 0 }],
    });
    expect(drafts[0]).toMatchObject({ deadLetterReason: { code: 'unknown_person' }, keys: [] });
    expect(toJson(drafts[0]?.payload)).toEqual({
      lane: 'events',
      source: 'shopify',
      personKeys: ['order-1'],
      entry: { ...aRefund().entry, event_time: '2026-01-15T12:00:00.000Z' },
    });
    expect(await counted('settled')).toEqual(['events dead_lettered 1']);
    expect(await counted('ingest')).toEqual(['events accepted 1', 'profiles accepted 1']);
  });

  it('has all issues in its reason if it lacks more than a person', async () => {
    const { accept, drafts } = createFixture();
    const wrong = aRefund({ entry: { ...aRefund().entry, value: 'five' } });
    await accept(aPost({ entries: [wrong] }), lenient);
    expect(drafts[0]?.deadLetterReason).toEqual({
      code: 'not_valid',
      detail: '/value must be a number, not a string or anything else',
      faults: [{ pointer: '/value', detail: 'must be a number, not a string or anything else' }],
    });
  });

  it('rejects the whole request if the request is strict', async () => {
    const { accept, drafts, counted, facts } = createFixture();
    const post = aPost({ entries: [aProfile, aRefund()], people: [{ ...knownFrom, key: 'x' }] });
    expect(await accept(post, { strict: true })).toMatchObject({
      kind: 'invalid',
      rejected: [{ index: 0 }],
    });
    expect([drafts, facts.size]).toEqual([[], 0]);
    expect(await counted('ingest')).toEqual(['events invalid 1', 'profiles invalid 1']);
  });

  it.each(['events', 'profiles'] as const)(
    'is sent without its invalid address if another identifier names the person: %s',
    async (lane) => {
      const { accept, drafts } = createFixture();
      const entry = {
        ...(lane === 'events' && { event_name: 'Viewed' }),
        email: 'ada at home',
        distinct_id: '7',
        properties: { plan: 'gold' },
      };
      const response = await accept(aPost({ entries: [{ lane, entry, index: 0 }] }), lenient);
      expect(response).toMatchObject({ accepted: 1, rejected: [] });
      const text = JSON.stringify(toJson(drafts[0]?.payload));
      expect(text).toContain('"email_invalid":"ada at home"');
      expect(text).toContain('"plan":"gold"');
    },
  );
});

describe('a repeated delivery', () => {
  it('is accepted once', async () => {
    const { accept, drafts, counted } = createFixture();
    const post = aPost({ delivery: 'd-1', entries: [aProfile] });
    await accept(post, lenient);
    expect(await accept(post, lenient)).toMatchObject({
      kind: 'accepted',
      accepted: 0,
      repeat: true,
    });
    expect(drafts).toHaveLength(1);
    expect(await counted('sourceSkipped')).toEqual(['shopify repeat 1']);
  });

  it('is accepted if the first one met backpressure', async () => {
    let refuses = true;
    const { store, drafts } = createFixture();
    const append: Store['append'] = (given) =>
      refuses ? Promise.resolve({ ok: false, backpressure: full }) : store.append(given);
    const { accept, counted } = createFixture({ store: { ...store, append } });
    const post = aPost({ delivery: 'd-1', entries: [aProfile], people: [knownFrom] });
    expect(await accept(post, lenient)).toEqual({ kind: 'backpressure', ...full });
    refuses = false;
    expect(await accept(post, lenient)).toMatchObject({ accepted: 1, repeat: false });
    expect(drafts).toHaveLength(1);
    expect(await counted('ingest')).toEqual(['profiles accepted 1', 'profiles refused 1']);
  });

  it('is rejected if its facts cannot be stored', async () => {
    const { store } = createFixture();
    const putFacts = () => Promise.resolve({ ok: false, backpressure: full } as const);
    const { accept } = createFixture({ store: { ...store, putFacts } });
    const post = aPost({ entries: [aProfile], people: [knownFrom] });
    expect(await accept(post, lenient)).toEqual({ kind: 'backpressure', ...full });
  });
});

describe('a stored fact about a person', () => {
  const customer: KnownPerson = {
    kind: 'customer',
    key: 'customer-1',
    person: { email: 'ada@klaviyo-demo.com', distinct_id: '7' },
  };
  const payment: KnownPerson = {
    kind: 'payment',
    key: 'payment-1',
    person: {},
    personKeys: ['customer-1'],
    fallback: { email: 'b@klaviyo-demo.com' },
  };
  const requested = aPost({ entries: [aRefund({ personKeys: ['payment-1'] })] });
  const personOf = (drafts: readonly Draft[]): string => JSON.stringify(toJson(drafts[0]?.payload));

  it('is completed by the facts of an earlier request, like the entries of its own request', async () => {
    const { accept, drafts } = createFixture();
    await accept(aPost({ people: [customer] }), lenient);
    await accept(aPost({ people: [payment] }), lenient);
    await accept(requested, lenient);
    expect(personOf(drafts)).toContain('"email":"ada@klaviyo-demo.com","external_id":"7"');
  });

  it('leads to its fallback if no earlier request identified the person', async () => {
    const { accept, drafts } = createFixture();
    await accept(aPost({ people: [payment] }), lenient);
    await accept(requested, lenient);
    expect(personOf(drafts)).toContain('{"email":"b@klaviyo-demo.com"}');
  });
});

describe('a post with a ledger', () => {
  /** Counts the growth of `total`; a repeated `request` gets the same count. */
  const aCount = (request: string, total: number): SourcePost =>
    aPost({
      ledger: {
        kind: 'order',
        key: 'order-1',
        resolve: (kept) => {
          const before = JSON.parse(kept ?? '[]') as [string, number][];
          const counted = before.reduce((sum, [, value]) => sum + value, 0);
          const own = before.find(([name]) => name === request)?.[1] ?? total - counted;
          const entry = aRefund({
            entry: { ...aRefund().entry, email: 'ada@klaviyo-demo.com', value: own },
          });
          const isNew = before.every(([name]) => name !== request);
          return {
            entries: [entry],
            skipped: [{ reason: 'seen' }],
            kept: JSON.stringify(isNew ? [...before, [request, own]] : before),
          };
        },
      },
    });
  const valuesOf = (drafts: readonly Draft[]): unknown[] =>
    drafts.map(({ payload }) => /"value":(\d+)/.exec(Buffer.from(payload).toString())?.[1]);

  it('adds the entries that follow from earlier posts, even if they are concurrent', async () => {
    const { accept, drafts, counted } = createFixture();
    await Promise.all([accept(aCount('a', 3), lenient), accept(aCount('b', 8), lenient)]);
    await accept(aCount('c', 9), lenient);
    expect(valuesOf(drafts)).toEqual(['3', '5', '1']);
    expect(await counted('sourceSkipped')).toEqual(['shopify seen 3']);
    expect(await accept(aCount('d', 9), lenient)).toMatchObject({ skipped: ['seen'] });
  });

  it('adds the same entries when it is repeated after backpressure', async () => {
    const { drafts, store, accept } = createFixture();
    const refusing = createFixture({
      store: { ...store, append: () => Promise.resolve({ ok: false, backpressure: full }) },
    });
    expect(await refusing.accept(aCount('a', 3), lenient)).toMatchObject({ kind: 'backpressure' });
    await accept(aCount('b', 8), lenient);
    await accept(aCount('a', 3), lenient);
    expect(valuesOf(drafts)).toEqual(['5', '3']);
  });

  it('is rejected if its ledger cannot be stored', async () => {
    const { store, drafts } = createFixture();
    const { accept } = createFixture({
      store: { ...store, putFacts: () => Promise.resolve({ ok: false, backpressure: full }) },
    });
    expect(await accept(aCount('a', 3), lenient)).toMatchObject({ kind: 'backpressure', ...full });
    expect(drafts).toEqual([]);
  });
});
