import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '../../src/clock.js';
import { getLaneApi } from '../../src/klaviyo/lanes/list.js';
import { lanes, type Lane } from '../../src/model/lane.js';
import {
  startSandbox,
  type RunningSandbox,
  type SandboxOptions,
} from '../../src/sandbox/sandbox.js';
import { watchMoments, type Moments } from './moments.js';
import { startRelayProcess, type RelayProcess } from './relay-process.js';
import { readLaneCounts, type LaneCounts } from './relay.js';

/** A relay that is killed and started again on its directory. Each process has a port of its own. */
export type RestartedRelay = {
  /** Resolves with the URL once the relay listens. Rejects if the process ended unexpectedly or `end` was called. */
  url(): Promise<string>;
  /** Resolves with the running process once the previous one has ended. */
  process(): Promise<RelayProcess>;
  /** Returns at once. The next process starts when this one has ended. */
  killAndStart(): void;
  /** Ends the relay without a restart. Resolves with the exit code, or null if the signal ended the process. */
  end(signal: 'SIGKILL' | 'SIGTERM'): Promise<number | null>;
  /** Error and fatal lines that all of its processes logged. */
  errorLines(): readonly string[];
};

export function startRestartedRelay(start: () => RelayProcess): RestartedRelay {
  const complaints: string[] = [];
  let current = Promise.resolve(start());
  let isOver = false;
  const end = async (running: RelayProcess, signal: 'SIGKILL' | 'SIGTERM') => {
    const code = await running.end(signal);
    complaints.push(...running.lines.filter((line) => /"level":"(error|fatal)"/.test(line)));
    return code;
  };
  return {
    async url() {
      for (;;) {
        const awaited = current;
        const running = await awaited;
        const url = await running.listening;
        const error = running.unexpectedEnd();
        if (error !== null) throw error;
        if (isOver) throw new Error('the relay was ended and is not started again');
        if (url !== null && awaited === current) return url;
      }
    },
    process: () => current,
    killAndStart() {
      const before = current;
      current = before.then(async (running) => {
        await end(running, 'SIGKILL');
        return start();
      });
    },
    async end(signal) {
      isOver = true;
      return end(await current, signal);
    },
    errorLines: () => complaints,
  };
}

export type World = {
  readonly sandbox: RunningSandbox;
  readonly relay: RestartedRelay;
  readonly moments: Moments;
  readonly dataDir: string;
};

/** Short intervals, so that restarts take most of a test's time, and a small working set, so that a backlog stays on disk. */
export const quickRelay: Readonly<Record<string, string>> = {
  ...Object.fromEntries(
    lanes.flatMap((lane) => {
      const { prefix } = getLaneApi(lane).settings;
      return [
        [`${prefix}_FLUSH_INTERVAL_MS`, '5'],
        [`${prefix}_RATE_WINDOWS`, 'off'],
      ];
    }),
  ),
  RATE_LIMIT_PER_SECOND: '2000',
  RATE_LIMIT_BURST: '2000',
  RETRY_BASE_MS: '10',
  RETRY_MAX_DELAY_MS: '80',
  WORKING_SET_MAX_BYTES: '1000000',
};

/** Starts the built relay with a journal and a sandbox, runs `act`, and removes all of them. */
export async function withRestartedRelay<T>(
  {
    env,
    ...options
  }: Partial<SandboxOptions> & { readonly env?: Readonly<Record<string, string>> },
  act: (world: World) => Promise<T>,
): Promise<T> {
  const dataDir = await mkdtemp(join(tmpdir(), 'klaviyo-relay-'));
  const sandbox = await startSandbox({ clock: systemClock, windows: 'off', ...options });
  const moments = watchMoments({ sandboxPort: sandbox.port, dataDir });
  const relay = startRestartedRelay(() =>
    startRelayProcess({ klaviyoUrl: sandbox.url, dataDir, env: { ...quickRelay, ...env } }),
  );
  try {
    return await act({ sandbox, relay, moments, dataDir });
  } finally {
    await relay.end('SIGKILL');
    moments.close();
    await sandbox.close();
    await rm(dataDir, { recursive: true });
  }
}

/** Resolves once nothing is buffered. Reads the metrics after each log line, because every settlement is logged. */
export async function untilSettled(
  relay: Pick<RestartedRelay, 'url' | 'process'>,
): Promise<Readonly<Record<Lane, LaneCounts>>> {
  for (;;) {
    const url = await relay.url();
    const logged = (await relay.process()).nextLine();
    const counts = readLaneCounts(await fetchText(`${url}/metrics`));
    if (lanes.every((lane) => counts[lane].buffered === 0)) return counts;
    await logged;
  }
}

export async function fetchText(url: string): Promise<string> {
  const response = await fetch(url);
  return response.text();
}
