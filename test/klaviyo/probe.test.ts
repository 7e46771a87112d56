import { afterEach, describe, expect, it } from 'vitest';
import type { KlaviyoClient } from '../../src/klaviyo/client.js';
import { startSandbox, type FaultRule, type RunningSandbox } from '../../src/sandbox/sandbox.js';
import { createManualClock } from '../support/manual-clock.js';
import { aClient, respondJson, startKlaviyoServer } from './klaviyo-server.js';
import { aRevision } from '../support/revisions.js';

const key = 'pk_test_key_1';
let sandbox: RunningSandbox;
let client: KlaviyoClient;

/** A sandbox whose key has these scopes, and a client of it. */
async function start(
  scopes: readonly string[],
  overrides: Parameters<typeof aClient>[1] = {},
): Promise<void> {
  sandbox = await startSandbox({
    clock: createManualClock(Date.UTC(2026, 10, 1)),
    apiKeys: [key],
    scopes: { [key]: scopes },
  });
  ({ client } = aClient(sandbox.url, overrides));
}

afterEach(async () => {
  await client.close();
  await sandbox.close();
});

const needed = ['events:write', 'profiles:write', 'lists:write', 'profiles:read', 'lists:read'];
/** The result for each scope that every relay needs. */
const brief = async (): Promise<Record<string, boolean>> =>
  Object.fromEntries(
    (await client.probeScopes())
      .filter(({ neededFor }) => neededFor === undefined)
      .map(({ scope, ok }) => [scope, ok]),
  );

describe('a probe of the scopes', () => {
  it('finds a key with all scopes, and records nothing', async () => {
    await start(needed);
    expect(await brief()).toEqual({
      key: true,
      'events:write': true,
      'profiles:write, lists:write': true,
      'profiles:read, lists:read': true,
    });
    expect(sandbox.state()).toMatchObject({ events: [], profiles: [], imports: [] });
  });

  it.each([
    ['events:write', 'events:write'],
    ['profiles:write', 'profiles:write, lists:write'],
    ['lists:write', 'profiles:write, lists:write'],
    ['profiles:read', 'profiles:read, lists:read'],
    ['lists:read', 'profiles:read, lists:read'],
  ])('finds that %s is missing', async (missing, probe) => {
    await start(needed.filter((scope) => scope !== missing));
    const probes = await client.probeScopes();
    const missed = probes.filter(({ ok, neededFor }) => !ok && neededFor === undefined);
    expect(missed.map(({ scope }) => scope)).toEqual([probe]);
    expect(probes.find(({ scope }) => scope === probe)?.detail).toContain(missing);
  });

  it('tells which lanes need a missing scope that not every relay needs', async () => {
    const scope = 'subscriptions:write, profiles:write, lists:write';
    await start(needed);
    expect((await client.probeScopes()).filter(({ ok }) => !ok)).toMatchObject([
      { scope, neededFor: ['subscribe', 'unsubscribe'] },
      { scope: 'subscriptions:write, profiles:write', neededFor: ['suppress'] },
      { scope: 'subscriptions:read', neededFor: ['suppress', 'unsuppress'] },
      { scope: 'subscriptions:write', neededFor: ['unsuppress'] },
      { scope: 'data-privacy:write', neededFor: ['erase'] },
    ]);
    await sandbox.close();
    await start([...needed, 'subscriptions:write']);
    expect((await client.probeScopes()).find((each) => each.scope === scope)?.ok).toBe(true);
  });

  it('reports a wrong key, and makes no further request', async () => {
    await start(needed, { apiKey: () => 'pk_wrong' });
    expect(await client.probeScopes()).toEqual([
      {
        scope: 'key',
        ok: false,
        detail: 'Klaviyo answered 401: Incorrect authentication credentials.',
      },
    ]);
    expect(sandbox.state().requests).toHaveLength(1);
  });

  it('finds a revision that does not exist yet', async () => {
    await start(needed, { revision: aRevision('2099-01-01') });
    expect(await client.probeScopes()).toEqual([
      {
        scope: 'key',
        ok: false,
        detail: 'Klaviyo answered 404: Unable to specify a future revision date',
      },
    ]);
  });

  it('does not treat a rejected revision as an existing scope', async () => {
    await start(needed);
    sandbox.addFault({
      endpoint: 'bulk-events',
      status: 400,
      body: { errors: [{ detail: 'The revision is malformed' }] },
    });
    expect(await brief()).toMatchObject({ key: true, 'events:write': false });
  });

  it('does not treat a page as a response of Klaviyo', async () => {
    await start(needed);
    sandbox.addFault({ endpoint: 'bulk-events', status: 400, html: true });
    expect(await brief()).toMatchObject({ 'events:write': false });
  });

  it.each<[string, Omit<FaultRule, 'endpoint'>]>([
    ['a 400 of somebody else', { status: 400, body: { message: 'Bad Request' } }],
    ['an empty 200', { status: 200 }],
    ['a 200 that is not a list', { status: 200, body: { data: {} } }],
    ['a 204', { status: 204 }],
    ['a 202 of somebody else', { status: 202, body: { message: 'queued' } }],
    ['a 200 with a page', { status: 200, html: true }],
  ])('does not take %s for an answer of Klaviyo', async (_name, fault) => {
    await start(needed);
    sandbox.addFault({ endpoint: 'bulk-events', ...fault });
    sandbox.addFault({ endpoint: 'bulk-profiles', ...fault });
    sandbox.addFault({ endpoint: 'jobs', ...fault });
    expect(await brief()).toEqual({
      key: true,
      'events:write': false,
      'profiles:write, lists:write': false,
      'profiles:read, lists:read': false,
    });
  });

  it('reports why no response arrived', async () => {
    await start(needed);
    await sandbox.close();
    const [probe] = await client.probeScopes();
    expect(probe).toMatchObject({ scope: 'key', ok: false });
    expect(probe?.detail).toContain('no connection');
  });
});

describe('a probe of the account', () => {
  it('has the name and id if the key may read them', async () => {
    await start([...needed, 'accounts:read']);
    expect(await client.probeAccount()).toEqual({
      ok: true,
      id: 'SNDBOX',
      name: 'Klaviyo sandbox',
    });
    const [probe] = await client.probeScopes();
    expect(probe?.detail).toContain('429');
  });

  it('succeeds without a name if the key lacks accounts:read', async () => {
    await start(needed);
    expect(await client.probeAccount()).toEqual({ ok: true });
  });

  it('fails after a 403 that does not come from Klaviyo', async () => {
    await start(needed);
    const klaviyo = await startKlaviyoServer((response) =>
      respondJson(response, { status: 403, body: { message: 'Forbidden' } }),
    );
    const other = aClient(klaviyo.url).client;
    expect(await other.probeAccount()).toEqual({
      ok: false,
      reason: 'Klaviyo answered 403: Forbidden',
    });
    await other.close();
    await klaviyo.close();
  });

  it('fails after a page instead of a response of Klaviyo', async () => {
    await start(needed);
    const klaviyo = await startKlaviyoServer((response) =>
      response.writeHead(200).end('<html></html>'),
    );
    const other = aClient(klaviyo.url).client;
    expect(await other.probeAccount()).toEqual({
      ok: false,
      reason: 'the answer is not from Klaviyo',
    });
    await other.close();
    await klaviyo.close();
  });
});
