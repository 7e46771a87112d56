import { beforeAll, expect, it } from 'vitest';
import { measureEndToEnd, unlimited } from './support/end-to-end.js';
import { measureIntake } from './support/intake.js';
import { toRate, type Load } from './support/load.js';
import { needTools, startBare, startRelay, startSink } from './support/program.js';

/**
 * Has something become slow? One short round each; the bounds lie at half of what docs/performance.md
 * tells, since a single round on a busy machine says no more.
 */
const short = { warmUpSeconds: 2, seconds: 2 };

beforeAll(() => needTools('wrk', 'taskset'));

it('single events are accepted at no less than an eighth of what bare Fastify answers', async () => {
  const sink = await startSink();
  try {
    const relay = toRate(await measureIntake(() => startRelay(sink), short));
    const fastify = toRate(await measureIntake(() => startBare('bare-fastify'), short));
    expect(relay / fastify).toBeGreaterThan(1 / 8);
  } finally {
    await sink.stop();
  }
});

it('events are delivered at no less than an eighth of what is forwarded unseen', async () => {
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
