import { systemClock, wait } from '../../src/clock.js';
import { post, type Load } from './load.js';
import { readCount, startSink, type Cores, type Counted, type Program } from './program.js';

/** Klaviyo's limits off: what the relay itself can do. */
export const unlimited: Readonly<Record<string, string>> = {
  EVENT_RATE_WINDOWS: 'off',
  PROFILE_RATE_WINDOWS: 'off',
  RATE_LIMIT_PER_SECOND: '100000',
  RATE_LIMIT_BURST: '100000',
  // What does not fill a request waits as long as with the forwarder: a round ends with the last record.
  EVENT_FLUSH_INTERVAL_MS: '200',
  PROFILE_FLUSH_INTERVAL_MS: '200',
};

export type EndToEnd = {
  /** What the sink counts records by. */
  readonly mark: string;
  readonly start: (sink: Program) => Promise<Program>;
  readonly load: Load;
  readonly warmUpSeconds: number;
  readonly cores: Cores;
};

/** Records posted per second, from the first post until the last of them has arrived at the sink. */
export async function measureEndToEnd(options: EndToEnd): Promise<number> {
  const { mark, start, warmUpSeconds, cores } = options;
  const load: Load = { connections: 8, ...options.load, cores: cores === 'both' ? 'both' : 'load' };
  const sink = await startSink(mark);
  const program = await start(sink);
  try {
    await post(program, { ...load, seconds: warmUpSeconds });
    await untilQuiet(sink);
    const from = systemClock.now();
    const { requests } = await post(program, load);
    const { lastAt } = await untilQuiet(sink);
    return (requests * (load.perRequest ?? 1)) / ((lastAt - from) / 1000);
  } finally {
    await program.stop();
    await sink.stop();
  }
}

/** Until nothing has arrived for a while. */
async function untilQuiet(sink: Program): Promise<Counted> {
  for (;;) {
    const count = await readCount(sink);
    if (count.lastAt > 0 && systemClock.now() - count.lastAt > 1500) return count;
    await wait(systemClock, 100);
  }
}
