import { wait, type Clock } from '../clock.js';
import { openOutput, type Output } from '../log/output.js';

/** Why a service ends: a signal asks it to stop, or it cannot go on. */
export type End = { readonly signal: NodeJS.Signals } | { readonly error: unknown };

export type Service = { stop(): Promise<void> };

export type ServiceOptions<T extends Service> = {
  readonly clock: Clock;
  readonly stdout: Output;
  readonly stderr: Output;
  /** How long a stop may take, ms. */
  readonly stopLimitMs: number;
  /** `signal` is aborted where the start is given up; `fail` ends the service. */
  start(context: { signal: AbortSignal; fail: (error: unknown) => void }): Promise<T>;
  /** Resolves once the service is to end by itself, with the exit code. Absent: it never does. */
  work?(service: T): Promise<number>;
  /** Called with each reason to end, for the log. */
  onEnd?(end: End): void;
  /** Called at SIGHUP, once the service is started. Absent: SIGHUP stops the service. */
  readonly onHangup?: (service: T) => void;
  /** Takes out of a reason what stderr must not hold: it may quote a record or a secret. */
  redact(reason: string): string;
  /** True where a thread of the process cannot be ended by an ordinary exit. */
  isStuck?(error: unknown): boolean;
};

/**
 * The signals that stop a service. SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT and SIGTRAP must never be
 * listened to: Node.js would return from the handler, and the failing instruction would run again
 * and again. Without a listener the kernel ends the process at once.
 */
const stopSignals = ['SIGTERM', 'SIGINT'] as const;

/** A start that was given up has accepted nothing that has to be sent: it gets this long to release its parts. */
const startLimitMs = 1000;
/** A reader that is there reads the last lines in this time. */
const flushLimitMs = 500;

/** stdout and stderr of this process, written to without waiting for their readers. */
export function openOutputs(clock: Clock): { readonly stdout: Output; readonly stderr: Output } {
  return {
    stdout: openOutput({ fd: 1, stream: process.stdout, clock }),
    stderr: openOutput({ fd: 2, stream: process.stderr, clock }),
  };
}

/**
 * Runs a service until a signal, a failure or its own end, stops it and ends the process. The exit
 * code is 0 after a signal, 1 after a failure or a stop that failed. A second signal ends the process
 * at once. Where an exit would wait for a thread that is stuck, or the stop is overdue, the process ends
 * by SIGKILL.
 */
export async function runService<T extends Service>(options: ServiceOptions<T>): Promise<never> {
  const { clock, stderr } = options;
  const givenUp = new AbortController();
  const ends = watchEnds(options);
  const started = options.start({ signal: givenUp.signal, fail: (error) => ends.add({ error }) });
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
      // What a service that is being stopped did not finish is no failure.
      if (!givenUp.signal.aborted) ends.add({ error });
    },
  );
  await Promise.race([own, ends.first]);
  if (!givenUp.signal.aborted) givenUp.abort(new Error('the start was given up'));
  const failure = (error: unknown): void => {
    code = 1;
    stderr.write(`klaviyo-relay: the stop failed: ${options.redact(toReason(error))}\n`);
  };
  const stopBy = clock.monotonic() + startLimitMs + options.stopLimitMs;
  const service = await within(
    startLimitMs,
    started.catch(() => null),
    clock,
  );
  let isOverdue = false;
  if (service !== null) {
    // A stop that throws before it returns a promise rejects like the others.
    const stopped = Promise.resolve().then(async () => {
      await service.stop();
      return true as const;
    });
    const limited = await within(options.stopLimitMs, stopped, clock).catch(failure);
    isOverdue = limited === null;
    if (isOverdue) failure(new Error(`it took longer than ${options.stopLimitMs} ms`));
  }
  await Promise.all([options.stdout.flush(flushLimitMs), stderr.flush(flushLimitMs)]);
  // What holds up a stop that is overdue may be a thread that shows nowhere.
  const isStuck =
    isOverdue || ends.isStuck() || options.stdout.holdsThread() || stderr.holdsThread();
  while (!isStuck && isPoolHeld() && clock.monotonic() < stopBy) await wait(clock, poolLookMs);
  return leave(ends.hasFailed() ? 1 : code, isStuck);
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
      // One failure causes others: the first one is the reason.
      if (hasFailed) return;
      hasFailed = true;
      stderr.write(`klaviyo-relay: ${options.redact(toReason(end.error))}\n`);
    } else if (hasEnded) {
      stderr.write(`klaviyo-relay: a second signal, ${end.signal}, ends it at once\n`);
      // The log is not waited for: this is what a second signal is for.
      leave(1, isStuck);
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

/** An ordinary exit joins all threads, and would wait for one that a disk or a name server does not let go. */
function leave(code: number, isStuck: boolean): never {
  if (isStuck || isPoolHeld()) process.kill(process.pid, 'SIGKILL');
  process.exit(code);
}

const poolLookMs = 20;
const poolWork: ReadonlySet<string> = new Set([
  'FSReqCallback',
  'FSReqPromise',
  'GetAddrInfoReqWrap',
  'GetNameInfoReqWrap',
]);

/** True while a thread of libuv's pool has work on files or names. */
function isPoolHeld(): boolean {
  return process.getActiveResourcesInfo().some((kind) => poolWork.has(kind));
}

/** Null where it is not over after `limitMs`. */
async function within<T>(limitMs: number, work: Promise<T>, clock: Clock): Promise<T | null> {
  const over = new AbortController();
  const late = wait(clock, limitMs, over.signal).then(() => null);
  try {
    return await Promise.race([work, late]);
  } finally {
    over.abort();
  }
}

function toReason(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
