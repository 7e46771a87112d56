import { systemClock, wait } from '../../src/clock.js';
import { postAll, type Load } from './load.js';
import {
  readCount,
  startMany,
  startSink,
  stopAll,
  type Cores,
  type Counted,
  type Program,
} from './program.js';

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
  /** How many are started, to share the load and the sink; one unless told. */
  readonly programs?: number;
  readonly load: Load;
  readonly warmUpSeconds: number;
  readonly cores: Cores;
};

/** Records posted per second, from the first post until the last of them has arrived at the sink. Throws where an event did not. */
export async function measureEndToEnd(options: EndToEnd): Promise<number> {
  const { mark, start, programs = 1, warmUpSeconds, cores } = options;
  const load: Load = { connections: 8, ...options.load, cores: cores === 'both' ? 'both' : 'load' };
  const sink = await startSink(mark);
  const all = await startMany(programs, () => start(sink));
  try {
    await postAll(all, { ...load, seconds: warmUpSeconds });
    const before = await untilQuiet(sink);
    const from = systemClock.now();
    const loaded = await postAll(all, load);
    const after = await untilQuiet(sink);
    const responses = loaded.reduce((sum, { requests }) => sum + requests, 0);
    const posted = responses * (load.perRequest ?? 1);
    const arrived = after.records - before.records;
    // Profiles of one person may be merged on their way.
    if (load.kind !== 'profiles' && arrived < posted) {
      throw new Error(`${posted} records were accepted, and ${arrived} of them arrived`);
    }
    return posted / ((after.lastAt - from) / 1000);
  } finally {
    await stopAll([...all, sink]);
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
