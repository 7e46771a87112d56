import { beforeAll, expect, it } from 'vitest';
import { measureEndToEnd, unlimited } from './support/end-to-end.js';
import { measureIntake } from './support/intake.js';
import { toRate, type Load } from './support/load.js';
import { needTools, startBare, startRelay, startSink } from './support/program.js';

/**
 * Detects large slowdowns with one short round each. The bounds are half of the values in
 * docs/performance.md, because a single round on a busy machine is imprecise.
 */
const short = { warmUpSeconds: 2, seconds: 2 };

beforeAll(() => needTools('wrk', 'taskset'));

it('the relay accepts single events at no less than an eighth of the rate of bare Fastify', async () => {
  const sink = await startSink();
  try {
    const relay = toRate(await measureIntake(() => startRelay(sink), short));
    const fastify = toRate(await measureIntake(() => startBare('bare-fastify'), short));
    expect(relay / fastify).toBeGreaterThan(1 / 8);
  } finally {
    await sink.stop();
  }
});

it('the relay delivers events at no less than an eighth of the rate of the bare forwarder', async () => {
  const load: Load = { kind: 'events', perRequest: 500, seconds: short.seconds };
  const common = { load, cores: 'server', warmUpSeconds: short.warmUpSeconds } as const;
  const relay = await measureEndToEnd({
    ...{ ...common, mark: '"type":"event-bulk-create"' },
    start: (sink) => startRelay(sink, unlimited),
  });
  const forwarder = await measureEndToEnd({
    ...{ ...common, mark: '"distinct_id"' },
    start: (sink) => startBare('forwarder', { SINK_URL: sink.url }),
  });
  expect(relay / forwarder).toBeGreaterThan(1 / 8);
});
