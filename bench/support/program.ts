import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock, wait } from '../../src/clock.js';

/** What is measured runs on the first core, what loads it on the second; `both` is not pinned. */
export type Cores = 'server' | 'load' | 'both';
const cpuList: Readonly<Record<Cores, string>> = { server: '0', load: '1', both: '0,1' };

export const pinned = (cores: Cores, command: readonly string[]): readonly [string, string[]] => [
  'taskset',
  ['-c', cpuList[cores], ...command],
];

export type Program = {
  readonly pid: number;
  readonly url: string;
  /** Ended by SIGKILL, and gone with what it kept. */
  stop(): Promise<void>;
};

export type ProgramOptions = {
  readonly cores: Cores;
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
};

/** A Node program that says on stdout where it listens. Its output goes to a file, as where a log is kept. */
export async function startProgram({ cores, args, env = {} }: ProgramOptions): Promise<Program> {
  const home = mkdtempSync(join(tmpdir(), 'bench-'));
  const log = join(home, 'log');
  const output = openSync(log, 'w');
  const [command, all] = pinned(cores, [process.execPath, ...args]);
  const child = spawn(command, all, {
    env: { ...env, DATA_DIR: env.DATA_DIR ?? join(home, 'data') },
    stdio: ['ignore', output, output],
  });
  const exited = once(child, 'exit');
  for (;;) {
    const url = /"url":"([^"]+)"/.exec(readFileSync(log, 'utf8'))?.[1];
    if (url !== undefined) {
      return {
        // taskset becomes the program.
        pid: child.pid ?? -1,
        url,
        async stop() {
          child.kill('SIGKILL');
          await exited;
          rmSync(home, { recursive: true });
        },
      };
    }
    if (child.exitCode !== null) throw new Error(readFileSync(log, 'utf8'));
    await wait(systemClock, 20);
  }
}

export const startMany = (
  count: number,
  start: () => Promise<Program>,
): Promise<readonly Program[]> => Promise.all(Array.from({ length: count }, start));

export async function stopAll(programs: readonly Program[]): Promise<void> {
  for (const program of programs) await program.stop();
}

const root = new URL('../../', import.meta.url).pathname;
const main = join(root, 'dist/main.js');
const toPath = (name: string): string => join(root, `bench/programs/${name}.js`);

const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
  readonly scripts: { readonly start: string };
};
/** The flags of Node that the relay is started with (docs/adr/0012). */
const nodeFlags = scripts.start.split(' ').filter((word) => word.startsWith('--'));

export const key = 'an-ingest-key';

/** The built relay as users run it: journal, keys, validation, metrics, logging at info. */
export function startRelay(
  sink: Program,
  env: Readonly<Record<string, string>> = {},
  cores: Cores = 'server',
): Promise<Program> {
  return startProgram({
    cores,
    args: [...nodeFlags, main, 'start'],
    env: {
      KLAVIYO_API_KEY: 'pk_bench',
      KLAVIYO_BASE_URL: sink.url,
      RELAY_API_KEYS: key,
      PORT: '0',
      ...env,
    },
  });
}

export type Bare =
  'bare-fastify' | 'bare-http' | 'synced-fastify' | 'forwarder' | 'drafting-forwarder';

export function startBare(
  name: Bare,
  env: Readonly<Record<string, string>> = {},
  cores: Cores = 'server',
): Promise<Program> {
  return startProgram({ cores, args: [toPath(name)], env });
}

/** The relay's HTTP server without store and delivery: `http` answers at once, `draft` once an event is drafted. */
export function startRelayIntake(what: 'http' | 'draft'): Promise<Program> {
  return startProgram({
    cores: 'server',
    args: [...nodeFlags, toPath('relay-intake')],
    env: { WHAT: what, KLAVIYO_API_KEY: 'pk_bench', RELAY_API_KEYS: key },
  });
}

export function startSink(mark = '"unique_id":"'): Promise<Program> {
  return startProgram({ cores: 'load', args: [toPath('sink')], env: { MARK: mark } });
}

export type Counted = {
  readonly records: number;
  readonly requests: number;
  readonly lastAt: number;
};

export async function readCount(sink: Program): Promise<Counted> {
  return (await fetch(`${sink.url}/count`)).json() as Promise<Counted>;
}

/** Throws with the install command if a tool is missing. */
export function needTools(...tools: readonly string[]): void {
  for (const tool of tools) {
    try {
      execFileSync('which', [tool]);
    } catch {
      throw new Error(`${tool} is needed to measure: apt-get install ${tool}`);
    }
  }
}
