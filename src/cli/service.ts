/**
 * Runs a long-lived command as a process: signals, failures, reload, stop within a limit, exit
 * code.
 * States: starting, started, ended by itself, stopping, exited. The first end (a signal, a failure
 * or the end of its work) begins the stop; a failure sets the exit code 1; a second signal exits at
 * once. A stop has a limit, after which the process ends by SIGKILL.
 */

import { wait, type Clock } from '../clock.js';
import { openOutput, type Output } from '../log/output.js';
import { toErrorMessage } from '../error.js';

/** Why a service ends: a signal, or a failure. */
export type End = { readonly signal: NodeJS.Signals } | { readonly error: unknown };

export type Service = { stop(): Promise<void> };

export type ServiceOptions<T extends Service> = {
  readonly clock: Clock;
  readonly stdout: Output;
  readonly stderr: Output;
  /** The longest duration of a stop, in ms. */
  readonly stopLimitMs: number;
  /** `signal` aborts when the start is cancelled. `fail` ends the service with a failure. */
  start(context: { signal: AbortSignal; fail: (error: unknown) => void }): Promise<T>;
  /**
   * Resolves with the exit code when the service ends by itself. Without it the service runs until
   * a signal.
   */
  work?(service: T): Promise<number>;
  /** Called for each reason to end, for the log. */
  onEnd?(end: End): void;
  /** Called on SIGHUP after the start. Without it SIGHUP stops the service. */
  readonly onHangup?: (service: T) => void;
  /** Removes records and secrets from a reason before it is written to stderr. */
  redact(reason: string): string;
  /** Returns true if a thread of the process would block an ordinary exit. */
  isStuck?(error: unknown): boolean;
};

/**
 * The signals that stop a service. SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT and SIGTRAP must never
 * have a listener: Node.js would return from it, and the failing instruction would run again and
 * again. Without a listener the kernel ends the process at once.
 */
const stopSignals = ['SIGTERM', 'SIGINT'] as const;

/** A cancelled start has accepted nothing. It has this long to release its parts. */
const startLimitMs = 1000;
/** An active reader reads the last lines within this time. */
const flushLimitMs = 500;

/** stdout and stderr of this process. Writes do not wait for their readers. */
export function openOutputs(clock: Clock): { readonly stdout: Output; readonly stderr: Output } {
  return {
    stdout: openOutput({ fd: 1, stream: process.stdout, clock }),
    stderr: openOutput({ fd: 2, stream: process.stderr, clock }),
  };
}

/**
 * Runs a service until a signal, a failure or its own end, then stops it and ends the process. The
 * exit code is 0 after a signal, and 1 after a failure or a failed stop. A second signal ends the
 * process at once. If an exit would wait for a stuck thread, or the stop exceeds its limit, the
 * process ends by SIGKILL.
 */
export async function runService<T extends Service>(options: ServiceOptions<T>): Promise<never> {
  const { clock, stderr } = options;
  const cancelled = new AbortController();
  const ends = watchEnds(options);
  const started = options.start({ signal: cancelled.signal, fail: (error) => ends.add({ error }) });
  const { onHangup } = options;
  if (onHangup === undefined) process.on('SIGHUP', () => ends.add({ signal: 'SIGHUP' }));
  else
    process.on(
      'SIGHUP',
      () => void started.then(onHangup).catch((error: unknown) => ends.add({ error })),
    );
  const worked = started.then(
    (service) => options.work?.(service) ?? new Promise<never>(() => undefined),
  );
  let code = 0;
  const own = worked.then(
    (result) => void (code = result),
    (error: unknown) => {
      // Work that a stopping service does not finish is not a failure.
      if (!cancelled.signal.aborted) ends.add({ error });
    },
  );
  await Promise.race([own, ends.first]);
  if (!cancelled.signal.aborted) cancelled.abort(new Error('the start was cancelled'));
  const failure = (error: unknown): void => {
    code = 1;
    stderr.write(`klaviyo-relay: the stop failed: ${options.redact(toErrorMessage(error))}\n`);
  };
  const stopBy = clock.monotonic() + startLimitMs + options.stopLimitMs;
  const service = await within(
    startLimitMs,
    started.catch(() => null),
    clock,
  );
  let isOverdue = false;
  if (service !== null) {
    // Inside `then`, so that a synchronous throw becomes a rejection.
    const stopped = Promise.resolve().then(async () => {
      await service.stop();
      return true as const;
    });
    const limited = await within(options.stopLimitMs, stopped, clock).catch(failure);
    isOverdue = limited === null;
    if (isOverdue) failure(new Error(`it took longer than ${options.stopLimitMs} ms`));
  }
  await Promise.all([options.stdout.flush(flushLimitMs), stderr.flush(flushLimitMs)]);
  // A stop that exceeds its limit may wait for a thread that no check detects.
  const isStuck =
    isOverdue || ends.isStuck() || options.stdout.holdsThread() || stderr.holdsThread();
  while (!isStuck && isPoolHeld() && clock.monotonic() < stopBy) await wait(clock, poolPollMs);
  return exitProcess(ends.hasFailed() ? 1 : code, isStuck);
}

function watchEnds<T extends Service>(options: ServiceOptions<T>) {
  const { stderr } = options;
  let hasEnded = false;
  let hasFailed = false;
  let isStuck = false;
  let resolve: () => void = () => undefined;
  const first = new Promise<void>((settle) => (resolve = settle));
  const add = (end: End): void => {
    if ('error' in end) {
      isStuck ||= options.isStuck?.(end.error) ?? false;
      // One failure causes others; the first one is the reason.
      if (hasFailed) return;
      hasFailed = true;
      stderr.write(`klaviyo-relay: ${options.redact(toErrorMessage(end.error))}\n`);
    } else if (hasEnded) {
      stderr.write(`klaviyo-relay: a second signal, ${end.signal}, ends the process at once\n`);
      // Does not wait for the log, because a second signal demands an immediate end.
      exitProcess(1, isStuck);
    }
    hasEnded = true;
    options.onEnd?.(end);
    resolve();
  };
  for (const signal of stopSignals) process.on(signal, () => add({ signal }));
  process.on('uncaughtException', (error) => add({ error }));
  process.on('unhandledRejection', (error) => add({ error }));
  return { first, add, hasFailed: () => hasFailed, isStuck: () => isStuck };
}

/**
 * An ordinary exit joins all threads and would wait for one that is blocked by a disk or a name
 * server.
 */
function exitProcess(code: number, isStuck: boolean): never {
  if (isStuck || isPoolHeld()) process.kill(process.pid, 'SIGKILL');
  process.exit(code);
}

const poolPollMs = 20;
const poolWork: ReadonlySet<string> = new Set([
  'FSReqCallback',
  'FSReqPromise',
  'GetAddrInfoReqWrap',
  'GetNameInfoReqWrap',
]);

/** Returns true while a thread of libuv's pool works on files or host names. */
function isPoolHeld(): boolean {
  return process.getActiveResourcesInfo().some((kind) => poolWork.has(kind));
}

/** Resolves with null if the work takes longer than `limitMs`. */
async function within<T>(limitMs: number, work: Promise<T>, clock: Clock): Promise<T | null> {
  const over = new AbortController();
  const late = wait(clock, limitMs, over.signal).then(() => null);
  try {
    return await Promise.race([work, late]);
  } finally {
    over.abort();
  }
}
