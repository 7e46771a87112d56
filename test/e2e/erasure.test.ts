import { afterEach, describe, expect, it } from 'vitest';
import { startRelay, type RelayUnderTest } from '../support/relay.js';
import { fetchText, untilSettled, withRestartedRelay } from '../support/restarted-relay.js';

const email = 'ada@klaviyo-demo.com';
const timeoutMs = 120_000;

let relay: RelayUnderTest;

async function post(path: string, body: object): Promise<string> {
  const response = await relay.post(path, body);
  expect(response.status, JSON.stringify(response.body)).toBe(202);
  return String(response.body.id);
}

const receipt = async (id: string): Promise<Record<string, unknown>> =>
  (await relay.get(`/v1/receipts/${id}`)).body;

describe('an erasure', () => {
  afterEach(() => relay.stop());

  it('removes what waits, deletes at Klaviyo, and sends what is newer afterwards', async () => {
    relay = await startRelay();
    for (const lane of ['events', 'erase']) await relay.post(`/v1/lanes/${lane}/pause`, {});
    const older = await post('/v1/events', { email, event_name: 'Before' });
    const other = await post('/v1/events', { email: 'bob@klaviyo-demo.com', event_name: 'Other' });
    const erasure = await post('/v1/erasures', { email: 'ADA@klaviyo-demo.com' });
    const newer = await post('/v1/events', { email, event_name: 'After' });
    expect(await receipt(erasure)).toMatchObject({
      state: 'buffered',
      erasure: { removed: null, klaviyo: 'pending' },
    });
    await relay.post('/v1/lanes/events/resume', {});
    await relay.until('the other event is delivered', async () => {
      return (await receipt(other)).state === 'delivered';
    });
    expect(await receipt(newer)).toMatchObject({ state: 'buffered' });
    await relay.post('/v1/lanes/erase/resume', {});
    await relay.untilSettled();
    const { events, requests, deletions } = relay.sandbox.state();
    expect(events.map(({ metric }) => metric)).toEqual(['Other', 'After']);
    expect(deletions).toHaveLength(1);
    const paths = requests.map(({ path }) => path);
    expect(paths.indexOf('/api/data-privacy-deletion-jobs')).toBeLessThan(
      paths.lastIndexOf('/api/event-bulk-create-jobs'),
    );
    expect(await receipt(older)).toMatchObject({ state: 'erased', erased_by: erasure });
    expect(await receipt(erasure)).toMatchObject({
      state: 'delivered',
      erasure: { removed: { envelopes: 1, dead_letters: 0, facts: 0 }, klaviyo: 'requested' },
    });
    const metrics = await relay.app.metrics.registry.metrics();
    expect(metrics).toContain('relay_settled_total{lane="events",outcome="erased"} 1');
  });

  it('shows what the relay holds about the person, before and after, and logs no address', async () => {
    relay = await startRelay();
    for (const lane of ['events', 'erase']) await relay.post(`/v1/lanes/${lane}/pause`, {});
    const event = await post('/v1/events', { email, event_name: 'Before' });
    const erasure = await post('/v1/erasures', { email });
    const before = (await relay.get(`/v1/people?email=${email}`)).body;
    expect(before).toMatchObject({
      envelopes: [{ id: event, lane: 'events', state: 'buffered' }],
      erasures: [erasure],
      erased: null,
    });
    await relay.post('/v1/lanes/erase/resume', {});
    await relay.until('the erasure is delivered', async () => {
      return (await receipt(erasure)).state === 'delivered';
    });
    const after = (await relay.get(`/v1/people/${String(before.hash)}`)).body;
    expect(after).toMatchObject({
      envelopes: [],
      dead_letters: [],
      facts: [],
      erasures: [],
      erased: { id: erasure },
    });
    expect(relay.logged.filter((line) => line.includes(email))).toEqual([]);
    expect((await relay.get(`/v1/people?email=${email}&distinct_id=1`)).status).toBe(400);
    expect((await relay.get('/v1/people')).status).toBe(400);
  });

  it('by an external id deletes the profile that has it, and says if there is none', async () => {
    relay = await startRelay();
    await post('/v1/profiles', { distinct_id: 'c "1"', email });
    await relay.untilSettled();
    const known = await post('/v1/erasures', { distinct_id: 'c "1"' });
    const unknown = await post('/v1/erasures', { distinct_id: 'nobody' });
    await relay.untilSettled();
    await relay.until('the profile is deleted', () => relay.sandbox.state().profiles.length === 0);
    expect(await receipt(known)).toMatchObject({ erasure: { klaviyo: 'requested' } });
    expect(await receipt(unknown)).toMatchObject({
      state: 'delivered',
      erasure: { klaviyo: 'no_profile' },
    });
  });

  it('waits for a request in flight, and removes what comes back from it', async () => {
    relay = await startRelay();
    relay.sandbox.addFault({ endpoint: 'bulk-events', status: 503, delayMs: 3000, times: 1 });
    const event = await post('/v1/events', { email, event_name: 'Before' });
    await relay.until('the event is in flight', async () => {
      return (await receipt(event)).state === 'in_flight';
    });
    const erasure = await post('/v1/erasures', { email });
    await relay.until('the erasure waits', async () => {
      const { reason } = await receipt(erasure);
      return JSON.stringify(reason).includes('waits_for_requests');
    });
    await relay.until('the erasure is delivered', async () => {
      return (await receipt(erasure)).state === 'delivered';
    });
    await relay.untilSettled();
    expect(relay.sandbox.state().events).toEqual([]);
    expect(await receipt(event)).toMatchObject({ state: 'erased' });
  });
});

describe('a relay that is killed in the middle of an erasure', () => {
  it(
    'finishes it after the restart, and sends nothing of the person that is older',
    () =>
      withRestartedRelay(
        {
          env: { ERASE_FLUSH_INTERVAL_MS: '5' },
          // Klaviyo completes a deletion later, with what it got meanwhile. Here it does so at once.
          importDelayMs: 0,
          faults: [
            { endpoint: 'bulk-events', status: 503, times: 2 },
            { endpoint: 'deletion', times: 1, delayMs: 600_000 },
          ],
        },
        async ({ sandbox, relay: running }) => {
          const headers = { 'content-type': 'application/json' };
          const accept = async (path: string, body: object): Promise<void> => {
            const url = `${await running.url()}${path}`;
            const response = await fetch(url, {
              method: 'POST',
              headers,
              body: JSON.stringify(body),
            });
            expect(response.status).toBe(202);
          };
          await accept('/v1/lanes/events/pause', {});
          const events = ['a', 'b', 'c'].map((name) => ({ email, event_name: name }));
          await accept('/v1/events/batch', [...events, { distinct_id: '7', event_name: 'Other' }]);
          await accept('/v1/erasures', { email });
          while (sandbox.state().deletions.length === 0) {
            await fetchText(`${await running.url()}/livez`);
          }
          running.killAndStart();
          await accept('/v1/events', { email, event_name: 'After' });
          const counts = await untilSettled(running);
          const metrics = sandbox.state().events.map(({ metric }) => metric);
          expect(metrics.sort()).toEqual(['After', 'Other']);
          expect(counts.events).toMatchObject({ accepted: 5, delivered: 2, deadLettered: 0 });
          const scrape = await fetchText(`${await running.url()}/metrics`);
          expect(scrape).toContain('relay_settled_total{lane="events",outcome="erased"} 3');
          expect(sandbox.state().deletions.length).toBeGreaterThan(1);
        },
      ),
    timeoutMs,
  );
});
