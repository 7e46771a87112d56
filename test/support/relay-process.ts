import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { createInterface } from 'node:readline';

/** The built command, as users run it: `npm test` builds it first. */
const command = new URL('../../dist/main.js', import.meta.url).pathname;

export type RelayProcess = {
  readonly pid: number;
  /** Resolves with the URL; null if `end` was called before. Rejects if the process ended unexpectedly. */
  readonly listening: Promise<string | null>;
  /** Lines logged so far. */
  readonly lines: readonly string[];
  /** Output on stderr so far. */
  readonly stderr: () => string;
  /** Resolves once the next line is logged or the process has ended. */
  nextLine(): Promise<void>;
  /** The error if the process ended without a call of `end`; otherwise null. */
  unexpectedEnd(): Error | null;
  /** Sends the signal. Resolves with the exit code once the process has ended and its log is read; null if the signal ended it. */
  end(signal: NodeJS.Signals): Promise<number | null>;
};

export type RelayProcessOptions = {
  /** URL of the sandbox. */
  readonly klaviyoUrl: string;
  readonly dataDir: string;
  readonly env?: Readonly<Record<string, string>>;
  /** Another build's `main.js`. */
  readonly main?: string;
};

/** Runs `start` of the built command with a journal. Returns at once. */
export function startRelayProcess(options: RelayProcessOptions): RelayProcess {
  const child = spawn(process.execPath, [options.main ?? command, 'start'], {
    env: toEnvironment(options),
    // A directory without .env.
    cwd: tmpdir(),
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const lines: string[] = [];
  const reader = createInterface({ input: child.stdout });
  let stderr = '';
  child.stderr.on('data', (part: Buffer) => (stderr += part.toString()));
  child.stderr.pipe(process.stderr, { end: false });
  const ended = Promise.all([
    once(child, 'exit'),
    once(reader, 'close'),
    once(child.stderr, 'close'),
  ]);
  let endRequested = false;
  const unexpectedEnd = (): Error | null =>
    endRequested || !hasEnded(child)
      ? null
      : new Error(`the relay ended by itself:\n${toTail(lines)}`);
  const listening = new Promise<string | null>((resolve, reject) => {
    reader.on('line', (line) => {
      lines.push(line);
      const url = /"url":"([^"]+)"/.exec(line)?.[1];
      if (url !== undefined) resolve(url);
    });
    void ended.then(() => {
      const error = unexpectedEnd();
      if (error === null) resolve(null);
      else reject(error);
    });
  });
  // Without a caller that awaits it, the rejection must not count as unhandled.
  listening.catch(() => undefined);
  return {
    // Without a process id the process could not be started and has ended.
    pid: child.pid ?? -1,
    listening,
    lines,
    stderr: () => stderr,
    unexpectedEnd: unexpectedEnd,
    nextLine: async () => {
      await Promise.race([once(reader, 'line'), ended]);
    },
    async end(signal) {
      endRequested ||= !hasEnded(child);
      child.kill(signal);
      await ended;
      return child.exitCode;
    },
  };
}

/** Runs the built command with `args` until it ends. */
export async function runCommand(
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
  cwd: string = tmpdir(),
): Promise<{ readonly code: number | null; readonly output: string }> {
  const child = spawn(process.execPath, [command, ...args], { env, cwd, stdio: 'pipe' });
  let output = '';
  child.stdout.on('data', (part: Buffer) => (output += part.toString()));
  child.stderr.on('data', (part: Buffer) => (output += part.toString()));
  await once(child, 'close');
  return { code: child.exitCode, output };
}

function toEnvironment({ klaviyoUrl, dataDir, env }: RelayProcessOptions): Record<string, string> {
  return {
    KLAVIYO_API_KEY: 'pk_test_1234',
    KLAVIYO_BASE_URL: klaviyoUrl,
    PORT: '0',
    STORE: 'journal',
    DATA_DIR: dataDir,
    ...env,
    ...toCompileCache(),
  };
}

function hasEnded({ exitCode, signalCode }: ChildProcess): boolean {
  return exitCode !== null || signalCode !== null;
}

const toTail = (lines: readonly string[]): string => lines.slice(-20).join('\n');

/** A directory in which Node 22 and later keep compiled modules: processes start in two thirds of the time. */
function toCompileCache(): Record<string, string> {
  const { NODE_COMPILE_CACHE } = process.env;
  return NODE_COMPILE_CACHE === undefined ? {} : { NODE_COMPILE_CACHE };
}
