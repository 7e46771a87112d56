import { describe, expect, it } from 'vitest';
import { runCrashes } from '../support/crash-run.js';
import { settlePromises } from '../support/manual-clock.js';
import type { RelayProcess } from '../support/relay-process.js';
import { fetchText, untilSettled, withRestartedRelay } from '../support/restarted-relay.js';

const timeoutMs = 180_000;

async function post(url: string, body: unknown): Promise<void> {
  const headers = { 'content-type': 'application/json' };
  const response = await fetch(url, { method: 'POST', headers, body: JSON.stringify(body) });
  expect(response.status).toBe(202);
}

async function untilLogged(running: RelayProcess, text: string): Promise<void> {
  while (!running.lines.some((line) => line.includes(text))) await running.nextLine();
}

// Concurrent, because each test mostly waits for the starts of its relay.
describe.concurrent('a relay that is killed repeatedly under faults of Klaviyo', () => {
  // The seeds differ at each run; SEED=… repeats them, as far as the moments of a kill can be repeated.
  const seed = Number(process.env.SEED ?? Math.floor(Math.random() * 2 ** 31));

  it.each([seed, seed + 1])(
    'loses, duplicates, changes and invents no record with seed %i',
    async (each) => {
      const report = await runCrashes({ seed: each, kills: 10 });
      expect(report.problems, report.problems.join('\n')).toEqual([]);
      expect(report.kills).toBe(10);
      expect(report.lostResponses).toBeGreaterThan(0);
    },
    timeoutMs,
  );
});

describe.concurrent(
  'a relay that is killed after Klaviyo recorded a request and before its settlement',
  () => {
    it(
      'sends the events again with the same unique_id, so that each is recorded once',
      () =>
        withRestartedRelay(
          { faults: [{ endpoint: 'bulk-events', times: 1, delayMs: 600_000 }] },
          async ({ sandbox, relay, moments }) => {
            const arrived = moments.after('arrived', 1);
            // The relay generates the ids of half of them.
            const events = Array.from({ length: 40 }, (_, number) => ({
              event_name: 'Viewed Product',
              distinct_id: `c-${number % 7}`,
              ...(number % 2 === 0 && { insert_id: `i-${number}` }),
            }));
            await post(`${await relay.url()}/v1/events/batch`, events);
            await arrived;
            while (sandbox.state().counters.recorded < events.length) await settlePromises(1);
            const before = sandbox.state().events;
            relay.killAndStart();
            const counts = await untilSettled(relay);
            const { counters, requests, events: after } = sandbox.state();
            expect(counters).toMatchObject({ recorded: 40, repeats: 40 });
            expect(after).toEqual(before);
            // The first request still waits for its response.
            expect(requests).toMatchObject([{ endpoint: 'bulk-events', status: 202, count: 40 }]);
            expect(counts.events).toMatchObject({ accepted: 40, delivered: 40, deadLettered: 0 });
          },
        ),
      timeoutMs,
    );

    it(
      'polls the import job that ran meanwhile, and imports nothing again',
      () =>
        withRestartedRelay({ importDelayMs: 500 }, async ({ sandbox, relay }) => {
          const profiles = Array.from({ length: 20 }, (_, number) => {
            return { distinct_id: `c-${number}`, number };
          });
          const url = await relay.url();
          await post(`${url}/v1/profiles/batch`, profiles);
          await untilLogged(await relay.process(), 'delivery pending');
          relay.killAndStart();
          const counts = await untilSettled(relay);
          const { counters, imports } = sandbox.state();
          expect(counters.imported).toBe(20);
          expect(imports).toMatchObject([{ status: 'complete', total: 20 }]);
          expect(counts.profiles).toMatchObject({ accepted: 20, delivered: 20, deadLettered: 0 });
          const deliveries = await fetchText(`${await relay.url()}/v1/deliveries`);
          expect(JSON.parse(deliveries)).toMatchObject({
            data: [{ result: 'delivered', count: 20 }],
          });
        }),
      timeoutMs,
    );
  },
);
