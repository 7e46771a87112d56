import { describe, expect, it } from 'vitest';
import { runCrashes } from '../support/crash-run.js';
import { startRedis } from '../support/redis-server.js';
import { startRelay, type RelayUnderTest } from '../support/relay.js';

/** At this time Klaviyo serves both tested revisions, and the relay uses the older one. */
const startMs = Date.UTC(2026, 7, 1, 12);
const retired = {
  retire: { revision: '2024-10-15', answer: 'gone', heedsOptOut: true, named: true },
} as const;

const requested = (relay: RelayUnderTest): readonly (string | null)[] =>
  relay.sandbox.state().requests.map(({ revision }) => revision);

async function withRelay(
  env: Record<string, string>,
  act: (relay: RelayUnderTest) => Promise<void>,
): Promise<void> {
  const relay = await startRelay({ startMs, env });
  try {
    await act(relay);
  } finally {
    await relay.stop();
  }
}

const postBoth = async (relay: RelayUnderTest, id: string): Promise<void> => {
  const event = { event_name: 'Placed Order', distinct_id: 'c-1', insert_id: id };
  expect((await relay.post('/v1/events', event)).status).toBe(202);
  expect((await relay.post('/v1/profiles', { distinct_id: id })).status).toBe(202);
};

const detail = async (relay: RelayUnderTest): Promise<string> => {
  const { body } = await relay.get('/readyz');
  const { klaviyo_revision } = body.checks as Record<string, { ok: boolean; detail: string }>;
  expect(klaviyo_revision?.ok).toBe(true);
  return klaviyo_revision?.detail ?? '';
};

const metric = async (relay: RelayUnderTest): Promise<readonly string[]> => {
  const { body } = await relay.get('/metrics');
  return String(body.text).match(/^relay_klaviyo_revision\{.*$/gm) ?? [];
};

describe('KLAVIYO_REVISION=auto', () => {
  it('moves all lanes to the next revision when the current one is retired, logs it, and loses nothing', () =>
    withRelay({ KLAVIYO_REVISION: 'auto' }, async (relay) => {
      await postBoth(relay, 'before');
      await relay.untilSettled();
      expect(new Set(requested(relay))).toEqual(new Set(['2024-10-15']));
      expect(await detail(relay)).toContain('2024-10-15, the oldest that is tested and supported');
      expect(await metric(relay)).toEqual(['relay_klaviyo_revision{revision="2024-10-15"} 1']);

      const before = requested(relay).length;
      relay.sandbox.addFault(retired);
      await postBoth(relay, 'after');
      await relay.untilSettled();
      const since = requested(relay).slice(before);
      expect(since).toContain('2024-10-15');
      expect(since.at(-1)).toBe('2026-07-15');
      const { events, profiles } = relay.sandbox.state();
      expect(events.map(({ uniqueId }) => uniqueId)).toEqual(['before', 'after']);
      expect(profiles).toHaveLength(3);
      expect(await detail(relay)).toContain('2026-07-15, the newest that is tested');
      expect(await metric(relay)).toEqual(['relay_klaviyo_revision{revision="2026-07-15"} 1']);
      const moves = relay.logged.filter((line) => line.includes('does not serve the revision'));
      expect(moves).toHaveLength(1);
      expect(moves[0]).toContain('"from":"2024-10-15","to":"2026-07-15"');
    }));

  it('opts out of Klaviyo’s fall-forward, so that a retired revision gets an error response', () =>
    withRelay({ KLAVIYO_REVISION: 'auto' }, async (relay) => {
      relay.sandbox.addFault({ retire: { ...retired.retire, answer: 'forward' } });
      await postBoth(relay, 'one');
      await relay.untilSettled();
      const { requests } = relay.sandbox.state();
      expect(requests[0]).toMatchObject({ revision: '2024-10-15', status: 410 });
      expect(requests.at(-1)).toMatchObject({ revision: '2026-07-15' });
    }));

  it('accepts what the current revision permits, also after a move', () =>
    withRelay({ KLAVIYO_REVISION: 'auto' }, async (relay) => {
      const old = {
        event_name: 'Signed Up',
        distinct_id: 'c-1',
        event_time: '1995-01-01T00:00:00Z',
      };
      const rejected = await relay.post('/v1/events', old);
      expect(rejected.body.errors).toEqual([{ pointer: '/event_time', detail: 'is before 2000' }]);
      relay.sandbox.addFault(retired);
      await postBoth(relay, 'one');
      await relay.untilSettled();
      expect((await relay.post('/v1/events', old)).status).toBe(202);
      await relay.untilSettled();
      expect(relay.sandbox.state().events).toHaveLength(2);
    }));
});

it('a relay that starts on a store after a move uses the newer revision', async () => {
  const redis = await startRedis();
  try {
    const env = { KLAVIYO_REVISION: 'auto', STORE: 'redis', REDIS_URL: redis.url };
    await withRelay(env, async (relay) => {
      relay.sandbox.addFault(retired);
      await postBoth(relay, 'one');
      await relay.untilSettled();
    });
    await withRelay(env, async (relay) => {
      await postBoth(relay, 'two');
      await relay.untilSettled();
      expect(new Set(requested(relay))).toEqual(new Set(['2026-07-15']));
    });
  } finally {
    await redis.close();
  }
});

describe('a configured revision', () => {
  it('is kept after its retirement: the lanes pause with an instruction and drop nothing', () =>
    withRelay({ KLAVIYO_REVISION: '2024-10-15' }, async (relay) => {
      relay.sandbox.addFault(retired);
      await postBoth(relay, 'one');
      await relay.until('the lanes are paused', () =>
        ['events', 'profiles'].every((lane) =>
          relay.logged.some(
            (line) => line.includes('KLAVIYO_REVISION to auto') && line.includes(lane),
          ),
        ),
      );
      expect(new Set(requested(relay))).toEqual(new Set(['2024-10-15']));
      relay.sandbox.clearFaults();
      await relay.untilSettled();
      expect(relay.sandbox.state().events).toHaveLength(1);
    }));
});

it('a retirement while the relay is killed repeatedly loses and duplicates no record', async () => {
  // In August 2026 the older revision is the one that auto picks.
  const backMs = Date.now() - startMs;
  const shift = `const now = Date.now; Date.now = () => now() - ${backMs};`;
  const report = await runCrashes({
    seed: Number(process.env.SEED ?? Math.floor(Math.random() * 2 ** 31)),
    kills: 6,
    clockOffsetMs: -backMs,
    faults: [{ ...retired, skip: 40 }],
    env: { NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(shift)}` },
  });
  expect(report.problems, report.problems.join('\n')).toEqual([]);
  expect(report.kills).toBe(6);
  expect(report.revisions).toEqual(['2024-10-15', '2026-07-15']);
}, 180_000);
