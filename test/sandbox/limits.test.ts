import { afterEach, describe, expect, it } from 'vitest';
import { startTestSandbox, toBulkEvents, toSingleEvent, toWrapper } from '../support/sandbox.js';
import type { SandboxResponse, SandboxUnderTest } from '../support/sandbox.js';
import { getWindows } from '../../src/sandbox/endpoints.js';
import { operations } from '../../src/sandbox/operations.js';
import type { WindowOptions } from '../../src/sandbox/endpoints.js';
import { findRevision } from '../../src/sandbox/revisions.js';

let at: SandboxUnderTest;
const start = async (windows: WindowOptions): Promise<void> => {
  at = await startTestSandbox({ windows });
};
afterEach(() => at.sandbox.close());

const send = (key = 'pk_test_1'): Promise<SandboxResponse> =>
  at.post('/api/event-bulk-create-jobs', toBulkEvents([toWrapper({ external_id: 'c' })]), {
    authorization: `Klaviyo-API-Key ${key}`,
  });
const sendMany = async (count: number): Promise<number[]> => {
  const statuses: number[] = [];
  for (let sent = 0; sent < count; sent++) statuses.push((await send()).status);
  return statuses;
};
const rateOf = ({ headers }: SandboxResponse): (string | null)[] =>
  ['limit', 'remaining', 'reset'].map((name) => headers.get(`ratelimit-${name}`));
const ok = (count: number): number[] => Array<number>(count).fill(202);

describe('a fixed rate window', () => {
  it("is announced in Klaviyo's form, as a list with the nearest first", async () => {
    await start({});
    expect(rateOf(await send())).toEqual(['10, 10;w=1, 150;w=60', '9', '1']);
    await at.clock.advance(1);
    expect(rateOf(await send())).toEqual(['10, 10;w=1, 150;w=60', '8', '0']);
  });

  it('is announced first once it is the nearest to its limit', async () => {
    await start({
      'bulk-events': [
        { limit: 3, windowMs: 1000 },
        { limit: 4, windowMs: 60_000 },
      ],
    });
    await sendMany(2);
    await at.clock.advance(2000);
    expect(rateOf(await send())).toEqual(['4, 3;w=1, 4;w=60', '1', '58']);
  });

  it('rejects the eleventh request of a second with 429, Retry-After and no rate limit headers', async () => {
    await start({});
    expect(await sendMany(10)).toEqual(ok(10));
    const response = await send();
    expect(response.status).toBe(429);
    expect(response.headers.get('retry-after')).toBe('1');
    expect(rateOf(response)).toEqual([null, null, null]);
    expect(response.errors[0]).toMatchObject({
      status: 429,
      code: 'throttled',
      title: 'Request was throttled.',
      detail: 'Request was throttled. Expected available in 1 second.',
      source: { pointer: '/data' },
    });
    await at.clock.advance(999);
    expect((await send()).status).toBe(429);
    await at.clock.advance(1);
    expect((await send()).status).toBe(202);
  });

  it('sends the remaining time of the long window as Retry-After', async () => {
    await start({ 'bulk-events': [{ limit: 2, windowMs: 60_000 }] });
    await at.clock.advance(10_500);
    expect(await sendMany(3)).toEqual([202, 202, 429]);
    expect((await send()).headers.get('retry-after')).toBe('50');
    await at.clock.advance(49_500);
    expect((await send()).status).toBe(202);
  });

  it('is shared by all keys of the account', async () => {
    await start({ 'bulk-events': [{ limit: 1, windowMs: 1000 }] });
    expect((await send('pk_one')).status).toBe(202);
    expect((await send('pk_two')).status).toBe(429);
  });

  it('counts each operation separately', async () => {
    await start({});
    expect((await at.get('/api/accounts')).status).toBe(200);
    expect((await at.get('/api/accounts')).status).toBe(429);
    expect((await at.post('/api/events', toSingleEvent({ external_id: 'c' }))).status).toBe(202);
    for (let look = 0; look < 10; look++) await at.get('/api/profile-bulk-import-jobs');
    expect((await at.get('/api/profile-bulk-import-jobs')).status).toBe(429);
    expect((await at.get('/api/profile-bulk-import-jobs/x')).status).toBe(404);
  });

  it("has Klaviyo's own limit by default and can be off for one endpoint", async () => {
    const windowsAt = (date: string): unknown =>
      Object.fromEntries(
        operations.map((operation) => {
          const windows = getWindows(operation, findRevision(date)!, undefined);
          return [operation.name, windows.map(({ limit, windowMs }) => `${limit}/${windowMs}`)];
        }),
      );
    expect(windowsAt('2024-10-15')).toMatchObject({
      bulk_create_events: ['10/1000', '150/60000'],
      create_event: ['350/1000', '3500/60000'],
      create_or_update_profile: ['75/1000', '700/60000'],
      get_accounts: ['1/1000', '15/60000'],
      bulk_subscribe_profiles: ['75/1000', '700/60000'],
      bulk_unsubscribe_profiles: ['75/1000', '700/60000'],
      bulk_suppress_profiles: ['75/1000', '700/60000'],
      add_profiles_to_list: ['10/1000', '150/60000'],
      remove_profiles_from_list: ['10/1000', '150/60000'],
      request_profile_deletion: ['3/1000', '60/60000'],
      merge_profiles: ['10/1000', '150/60000'],
      bulk_create_catalog_items: ['75/1000', '700/60000'],
      get_bulk_create_catalog_items_job: ['350/1000', '3500/60000'],
    });
    expect(windowsAt('2026-07-15')).toMatchObject({
      bulk_create_events: ['10/1000', '150/60000'],
      create_or_update_profile: ['75/1000', '750/60000'],
      bulk_subscribe_profiles: ['75/1000', '750/60000'],
      get_bulk_create_catalog_items_job: ['75/1000', '750/60000'],
    });
    await start({ 'bulk-events': 'off' });
    const response = await send();
    expect(rateOf(response)).toEqual([null, null, null]);
    expect(await sendMany(11)).toEqual(ok(11));
  });

  it('does not count requests without a valid key', async () => {
    await start({ 'bulk-events': [{ limit: 1, windowMs: 1000 }] });
    expect((await send('nothing')).status).toBe(401);
    expect((await send()).status).toBe(202);
  });
});

describe('a sliding rate window', () => {
  it('reports two bursts around a boundary that fixed windows admit', async () => {
    await start({});
    await at.clock.advance(900);
    expect(await sendMany(10)).toEqual(ok(10));
    await at.clock.advance(100);
    expect(await sendMany(3)).toEqual(ok(3));
    const { violations, violationCount } = at.sandbox.state();
    expect(violationCount).toBe(3);
    expect(violations[0]).toEqual({
      endpoint: 'bulk-events',
      operation: 'bulk_create_events',
      at: Date.UTC(2026, 10, 1, 12) + 1000,
      window: { limit: 10, windowMs: 1000 },
      count: 11,
      spanMs: 100,
    });
    expect(violations[2]).toMatchObject({ count: 13 });
  });

  it('reports nothing if the bursts are a window apart', async () => {
    await start({});
    for (let second = 0; second < 3; second++) {
      expect(await sendMany(10)).toEqual(ok(10));
      await at.clock.advance(1000);
    }
    expect(at.sandbox.state().violations).toEqual([]);
  });

  it('counts throttled arrivals too', async () => {
    await start({ 'bulk-events': [{ limit: 2, windowMs: 1000 }] });
    await sendMany(2);
    expect(await sendMany(2)).toEqual([429, 429]);
    expect(at.sandbox.state().violations.map(({ count }) => count)).toEqual([3, 4]);
    await at.clock.advance(999);
    expect(at.sandbox.state().violationCount).toBe(2);
  });

  it('is checked for the long window as well', async () => {
    await start({
      'bulk-events': [
        { limit: 5, windowMs: 1000 },
        { limit: 6, windowMs: 60_000 },
      ],
    });
    await at.clock.advance(55_000);
    await sendMany(5);
    await at.clock.advance(5000);
    await sendMany(2);
    expect(at.sandbox.state().violations).toMatchObject([
      { window: { limit: 6, windowMs: 60_000 }, count: 7, spanMs: 5000 },
    ]);
  });
});
