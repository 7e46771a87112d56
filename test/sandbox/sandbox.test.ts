import { connect } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { createSandbox, FaultScriptError, startSandbox } from '../../src/sandbox/sandbox.js';
import type { SandboxOptions } from '../../src/sandbox/sandbox.js';
import { createManualClock } from '../support/manual-clock.js';
import {
  startTestSandbox,
  toBulkProfiles,
  toBulkEvents,
  toEvent,
  toSingleEvent,
  toWrapper,
  turnsUntil,
} from '../support/sandbox.js';
import type { SandboxUnderTest } from '../support/sandbox.js';

let at: SandboxUnderTest | undefined;
const start = async (options?: Partial<SandboxOptions>): Promise<SandboxUnderTest> =>
  (at = await startTestSandbox(options));
afterEach(() => at?.sandbox.close());

describe('a sandbox', () => {
  it('closes once, however often close is called, and leaves no timer', async () => {
    const { sandbox, clock, post } = await start({
      importDelayMs: 300,
      faults: [{ endpoint: 'events', delayMs: 5000 }],
    });
    await post('/api/profile-bulk-import-jobs', toBulkProfiles([{ external_id: 'c' }]));
    const requested = post('/api/events', toSingleEvent({ external_id: 'c' })).catch(() => 'cut');
    await turnsUntil(() => clock.pending() === 2);
    await Promise.all([sandbox.close(), sandbox.close()]);
    await sandbox.close();
    expect(await requested).toBe('cut');
    expect(clock.pending()).toBe(0);
    await expect(fetch(sandbox.url)).rejects.toThrow('fetch failed');
  });

  it('does not start if its port is in use', async () => {
    const { sandbox } = await start();
    await expect(startSandbox({ clock: createManualClock(), port: sandbox.port })).rejects.toThrow(
      'EADDRINUSE',
    );
  });

  it('does not start with an invalid fault script', () => {
    const options = { clock: createManualClock(), faults: [{}] };
    expect(() => createSandbox(options)).toThrow(FaultScriptError);
  });

  it('delays every response by latencyMs', async () => {
    const { clock, get } = await start({ latencyMs: 40 });
    const requested = get('/api/accounts');
    await turnsUntil(() => clock.pending() === 1);
    await clock.advance(40);
    expect((await requested).status).toBe(200);
  });

  it('survives a client that disconnects within a request', async () => {
    const { sandbox, get } = await start();
    const socket = connect(sandbox.port, '127.0.0.1');
    socket.on('error', () => undefined);
    socket.write(
      'POST /api/events HTTP/1.1\r\nHost: localhost\r\nAuthorization: Klaviyo-API-Key pk_x\r\nRevision: 2024-10-15\r\nContent-Length: 100\r\n\r\n{"data"',
    );
    await turnsUntil(() => socket.bytesWritten > 0 && !socket.connecting);
    socket.resetAndDestroy();
    await turnsUntil(() => sandbox.state().requests.length === 1);
    expect(sandbox.state().requests[0]).toMatchObject({ endpoint: 'events', status: null });
    expect((await get('/api/accounts')).status).toBe(200);
  });
});

describe('the state of a sandbox', () => {
  it('holds the newest events in full, and counters and ids beyond them', async () => {
    const { sandbox, post } = await start({ maxEvents: 3 });
    const wrappers = [
      toWrapper(
        { external_id: 'c' },
        Array.from({ length: 5 }, (_, index) => toEvent({ unique_id: `u${index}` })),
      ),
    ];
    await post('/api/event-bulk-create-jobs', toBulkEvents(wrappers));
    await post('/api/event-bulk-create-jobs', toBulkEvents(wrappers));
    const { events, counters } = sandbox.state();
    expect(events.map(({ uniqueId }) => uniqueId)).toEqual(['u2', 'u3', 'u4']);
    expect(counters).toMatchObject({ recorded: 5, repeats: 5 });
  });

  it('holds every request with endpoint, time, status, count and bytes', async () => {
    const { sandbox, clock, post, get } = await start();
    const body = toBulkEvents([toWrapper({ external_id: 'c' }, [toEvent(), toEvent({}, 'Other')])]);
    await post('/api/event-bulk-create-jobs', body);
    await clock.advance(1000);
    await get('/api/profiles/none?x=1');
    await get('/api/nothing');
    const now = Date.UTC(2026, 10, 1, 12);
    expect(sandbox.state().requests).toEqual([
      {
        endpoint: 'bulk-events',
        method: 'POST',
        path: '/api/event-bulk-create-jobs',
        revision: '2024-10-15',
        servedRevision: '2024-10-15',
        at: now,
        status: 202,
        count: 2,
        bytes: JSON.stringify(body).length,
      },
      {
        endpoint: 'profiles',
        method: 'GET',
        path: '/api/profiles/none?x=1',
        revision: '2024-10-15',
        servedRevision: '2024-10-15',
        at: now + 1000,
        status: 400,
        count: 0,
        bytes: 0,
      },
      {
        endpoint: 'unknown',
        method: 'GET',
        path: '/api/nothing',
        revision: '2024-10-15',
        servedRevision: null,
        at: now + 1000,
        status: 404,
        count: 0,
        bytes: 0,
      },
    ]);
  });

  it('is cleared by a reset, which restores the initial fault rules', async () => {
    const { sandbox, clock, post, send } = await start({
      importDelayMs: 300,
      faults: [{ endpoint: 'events', times: 1, status: 503 }],
    });
    const event = toSingleEvent({ external_id: 'c' }, { unique_id: 'u' });
    expect((await post('/api/events', event)).status).toBe(503);
    expect((await post('/api/events', event)).status).toBe(202);
    await post('/api/profile-bulk-import-jobs', toBulkProfiles([{ external_id: 'late' }]));
    expect((await send('/sandbox', { method: 'DELETE' })).status).toBe(204);
    await clock.advance(300);
    expect(sandbox.state()).toMatchObject({ events: [], profiles: [], imports: [], requests: [] });
    expect((await post('/api/events', event)).status).toBe(503);
    expect((await post('/api/events', event)).status).toBe(202);
    expect(sandbox.state().counters).toMatchObject({ recorded: 1, repeats: 0 });
  });
});
