import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';

/** The built command, as users run it: `npm test` builds it first. */
export const builtCommand = new URL('../../dist/main.js', import.meta.url).pathname;

/** One system call. */
export type Call = {
  readonly pid: number;
  readonly name: string;
  /** The arguments as strace prints them. */
  readonly args: string;
  /** Null if the trace does not contain its end. */
  readonly result: number | null;
  /** Positions in the trace; `end` is Infinity if the trace does not contain the end of the call. */
  readonly start: number;
  readonly end: number;
};

/** The output of a process, line by line. */
export type Lines = {
  readonly all: readonly string[];
  /** Resolves once `count` lines contain `text`; rejects if the output ends before that. */
  waitFor(text: string, count?: number): Promise<void>;
};

export type RelayOptions = {
  /** Klaviyo's URL. */
  readonly klaviyo: string;
  readonly dataDir: string;
  readonly env?: Readonly<Record<string, string>>;
  /** The main.js to run. */
  readonly main?: string;
  /** Runs the relay under strace with these options, such as `-e trace=fdatasync`. */
  readonly trace?: readonly string[];
};

export type Relay = {
  readonly url: string;
  /** Process id of the relay, also if strace is its parent. */
  readonly pid: number;
  readonly dataDir: string;
  /** Its log. */
  readonly log: Lines;
  readonly stderr: Lines;
  /** Resolves with the exit code once the whole log is read; null if a signal ended the process. */
  readonly ended: Promise<number | null>;
  post(path: string, body: unknown, headers?: Readonly<Record<string, string>>): Promise<Response>;
  get(path: string): Promise<Response>;
  /** Sends SIGTERM. Resolves with the exit code. */
  stop(): Promise<number | null>;
  /** The traced calls; complete once the relay has ended. */
  calls(): readonly Call[];
};

/** A strace that is attached to a running relay. */
export type Tracer = {
  /** Its output. */
  readonly lines: Lines;
  calls(): readonly Call[];
  /** Ends strace; the relay continues. */
  detach(): Promise<void>;
};

/** Starts and ends the processes of one test. */
export type Processes = {
  start(options: RelayOptions): Promise<Relay>;
  /** Once it resolves, calls on the journal file are traced and faults are injected into them. */
  attach(relay: Relay, expressions: readonly string[]): Promise<Tracer>;
  run(args: readonly string[]): Promise<{ readonly code: number | null; readonly output: string }>;
  /** Ends all processes that still run. */
  endAll(): Promise<void>;
};

const defaults = {
  KLAVIYO_API_KEY: 'pk_test_1234',
  KLAVIYO_REVISION: '2026-07-15',
  PORT: '0',
  STORE: 'journal',
  DISK_RESERVE_BYTES: '1000000',
  EVENT_FLUSH_INTERVAL_MS: '20',
  EVENT_RATE_WINDOWS: 'off',
  PROFILE_RATE_WINDOWS: 'off',
  RETRY_BASE_MS: '20',
  RETRY_MAX_DELAY_MS: '100',
};

export function createProcesses(): Processes {
  const children: ChildProcess[] = [];
  const launch = (command: string, args: readonly string[], env = process.env): Child => {
    // Each child has its own process group, so that strace and its relay are ended together.
    const child = spawn(command, args, { env, detached: true, stdio: ['ignore', 'pipe', 'pipe'] });
    children.push(child);
    return toChild(child, command);
  };
  return {
    start: (options) => startRelay(options, launch),
    async attach({ pid, dataDir }, expressions) {
      const journal = join(dataDir, 'journal.mdb');
      const args = ['-f', '-y', '-s', '16', '-P', journal, ...expressions, '-p', String(pid)];
      const strace = launch('strace', args);
      await waitForLine(strace, strace.stderr, 'attached').catch(throwTracingFailed(strace));
      return {
        lines: strace.stderr,
        calls: () => parseTrace(strace.stderr.all),
        async detach() {
          strace.process.kill('SIGTERM');
          await strace.ended;
        },
      };
    },
    async run(args) {
      const child = launch(process.execPath, [builtCommand, ...args], {});
      const code = await child.ended;
      return { code, output: [...child.stdout.all, ...child.stderr.all].join('\n') };
    },
    async endAll() {
      for (const child of children.splice(0)) await endGroup(child);
    },
  };
}

type Child = {
  readonly process: ChildProcess;
  readonly stdout: Lines;
  readonly stderr: Lines;
  /** Rejects if the process could not be started. */
  readonly ended: Promise<number | null>;
};

async function startRelay(
  { klaviyo, dataDir, env = {}, main = builtCommand, trace }: RelayOptions,
  launch: (command: string, args: readonly string[], env: NodeJS.ProcessEnv) => Child,
): Promise<Relay> {
  const output = `${dataDir}.strace`;
  const [command, ...args] = [
    ...(trace === undefined ? [] : ['strace', '-f', '-y', '-o', output, ...trace]),
    ...[process.execPath, main, 'start'],
  ];
  const all = { ...defaults, KLAVIYO_BASE_URL: klaviyo, DATA_DIR: dataDir, ...env };
  // PATH locates strace.
  const child = launch(command ?? '', args, { PATH: process.env.PATH, ...all });
  await waitForLine(child, child.stdout, '"url"').catch(
    trace === undefined ? throwProcessEnded(child) : throwTracingFailed(child),
  );
  const { url } = JSON.parse(child.stdout.all.find((line) => line.includes('"url"')) ?? '') as {
    url: string;
  };
  const lock = readFileSync(join(dataDir, 'relay.lock'), 'utf8');
  const { pid } = JSON.parse(lock) as { pid: number };
  return {
    url,
    pid,
    dataDir,
    log: child.stdout,
    stderr: child.stderr,
    ended: child.ended,
    post: (path, body, headers = {}) =>
      fetch(url + path, {
        method: 'POST',
        headers: { 'content-type': 'application/json', ...headers },
        body: JSON.stringify(body),
      }),
    get: (path) => fetch(url + path),
    stop() {
      process.kill(pid, 'SIGTERM');
      return child.ended;
    },
    calls: () => parseTrace(readFileSync(output, 'utf8').split('\n')),
  };
}

function toChild(child: ChildProcess, command: string): Child {
  const ended = new Promise<number | null>((resolve, reject) => {
    child.once('close', resolve);
    child.once('error', (error) => reject(describeMissing(error, command)));
  });
  // Callers that await `ended` get the error; without them it must not be an unhandled rejection.
  ended.catch(() => undefined);
  return {
    process: child,
    stdout: collectLines(child.stdout),
    stderr: collectLines(child.stderr),
    ended,
  };
}

function describeMissing(error: Error, command: string): Error {
  const isMissing = 'code' in error && error.code === 'ENOENT' && command === 'strace';
  return isMissing ? new Error('strace is missing: apt-get install strace') : error;
}

/** Rejects if the process could not be started or ended before it printed `text`. */
async function waitForLine({ ended }: Child, lines: Lines, text: string): Promise<void> {
  const gone = ended.then((code) => {
    throw new Error(`ended with ${String(code)}`);
  });
  await Promise.race([lines.waitFor(text), gone]);
}

const throwProcessEnded =
  ({ stdout, stderr, ended }: Child) =>
  async (error: unknown): Promise<never> => {
    // Rejects with the reason if the process could not be started.
    await ended;
    throw new Error(`the process ended: ${[...stdout.all, ...stderr.all].join('\n')}`, {
      cause: error,
    });
  };

const throwTracingFailed =
  (child: Child) =>
  async (error: unknown): Promise<never> => {
    const isRefused = (line: string): boolean =>
      /ptrace.*(not permitted|denied|not implemented)/i.test(line);
    await child.ended;
    const refusal = child.stderr.all.find(isRefused);
    if (refusal === undefined) return throwProcessEnded(child)(error);
    throw new Error(`this machine does not let strace trace (SYS_PTRACE is needed): ${refusal}`, {
      cause: error,
    });
  };

function collectLines(stream: Readable | null): Lines {
  if (stream === null) throw new Error('the process has no output pipe');
  const all: string[] = [];
  const reader = createInterface({ input: stream });
  let isClosed = false;
  reader.on('line', (line) => all.push(line));
  reader.once('close', () => (isClosed = true));
  return {
    all,
    waitFor: (text, count = 1) =>
      new Promise((resolve, reject) => {
        const check = (): void => {
          const found = all.filter((line) => line.includes(text)).length >= count;
          if (!found && !isClosed) return;
          reader.off('line', check).off('close', check);
          if (found) resolve();
          else reject(new Error(`"${text}" was never printed:\n${all.join('\n')}`));
        };
        reader.on('line', check).on('close', check);
        check();
      }),
  };
}

async function endGroup(child: ChildProcess): Promise<void> {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, 'exit');
  try {
    process.kill(-child.pid, 'SIGKILL');
  } catch {
    // The process has just ended; its exit event follows.
  }
  await exited;
}

/** Parses the output of `strace -f` and joins calls that lines of other threads interrupt. */
export function parseTrace(lines: readonly string[]): readonly Call[] {
  const calls: Call[] = [];
  const open = new Map<string, { readonly text: string; readonly start: number }>();
  lines.forEach((line, place) => {
    const [, pid, text] = /^(?:\[pid +)?(\d+)\]? +(.*)$/.exec(line) ?? [];
    if (pid === undefined || text === undefined) return;
    const [, begun] = /^(\w+\(.*?) *<unfinished \.\.\.>$/.exec(text) ?? [];
    if (begun !== undefined) {
      open.set(pid, { text: begun, start: place });
      return;
    }
    const [, rest] = /^<\.\.\. \w+ resumed>(.*)$/.exec(text) ?? [];
    const half = rest === undefined ? undefined : open.get(pid);
    if (half !== undefined) open.delete(pid);
    const call = toCall((half?.text ?? '') + (rest ?? text));
    if (call !== null) {
      calls.push({ ...call, pid: Number(pid), start: half?.start ?? place, end: place });
    }
  });
  for (const [pid, { text, start }] of open) {
    const [, name = '', args = ''] = /^(\w+)\((.*)$/.exec(text) ?? [];
    calls.push({ pid: Number(pid), name, args, result: null, start, end: Infinity });
  }
  return calls;
}

function toCall(text: string): Pick<Call, 'name' | 'args' | 'result'> | null {
  const [, name, args, result] = /^(\w+)\((.*)\) += (-?\d+|\?)/.exec(text) ?? [];
  if (name === undefined || args === undefined) return null;
  return { name, args, result: result === '?' ? null : Number(result) };
}
