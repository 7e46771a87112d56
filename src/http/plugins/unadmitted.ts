import type { Readable } from 'node:stream';
import { hash } from 'node:crypto';
import type { FastifyBaseLogger, FastifyRequest } from 'fastify';
import type { Clock } from '../../clock.js';
import type { Metrics } from '../../metrics.js';
import { continueBody } from './expect-continue.js';
import { ProblemError, toRetryAfter, toUnavailable } from './problems.js';

/**
 * Bounds the cost of requests whose caller is not admitted yet. Nearly all callers are checked by the
 * headers, before a byte of the body is read. There are two exceptions: an SDK of Segment may send its key
 * in the body, and the signature of a webhook covers the body. Such bodies share one memory budget and must
 * arrive within a few seconds. When the budget is used up, the oldest body that is still arriving is
 * dropped, so that slow callers do not keep out fast ones.
 *
 * Failures, requests without a valid key, are counted by address. Beyond a bound, the response is 429. A
 * valid key always passes, because callers behind one NAT or proxy share an address.
 */
export type Unadmitted = {
  /** Counts a request without a valid key. Returns `problem`, or a 429 if the address has too many failures. */
  recordFailure(request: FastifyRequest, problem: ProblemError): ProblemError;
  /** Reads a body up to `maxBytes`, and leaves the rest in `payload`. Rejects with a problem. */
  readBody(request: FastifyRequest, payload: Readable, maxBytes: number): Promise<HeldBody>;
  /** True for a request for which `recordFailure` was called or `readBody` failed. */
  hasFailed(request: FastifyRequest): boolean;
  /** Runs the work of one request at a time, such as decoding a body. Bodies of admitted callers do not wait for it. */
  runAlone<T>(work: () => Promise<T>): Promise<T>;
};

export type HeldBody = {
  readonly chunks: readonly Buffer[];
  /** False if the payload has more bytes. */
  readonly isWhole: boolean;
  /** Returns the bytes to the budget. To be called once the caller is admitted or rejected. */
  readonly release: () => void;
};

export const maxHeldBytes = 33_554_432;
/** Memory that a chunk costs besides its bytes: a body can arrive in chunks of one byte. */
const chunkOverheadBytes = 256;
/** Time for a body to arrive. Shopify waits 5 s for a response, and an SDK's batch has at most 500 KB. */
const arrivalMs = 5000;

export function createUnadmitted(deps: {
  readonly clock: Clock;
  readonly metrics: Metrics;
}): Unadmitted {
  const { clock, metrics } = deps;
  const budget = createBudget(maxHeldBytes);
  const isOverFailures = createFailureCount(clock);
  const failed = new WeakSet<FastifyRequest>();
  const report = createFailureLog(clock);
  const markFailed = (request: FastifyRequest): void => {
    failed.add(request);
    report(request.log);
  };
  let last: Promise<unknown> = Promise.resolve();
  return {
    recordFailure(request, problem) {
      markFailed(request);
      metrics.authFailures.inc({ route: request.routeOptions.url ?? 'unmatched' });
      const waitMs = isOverFailures(request.ip);
      if (waitMs === 0) return problem;
      return new ProblemError(
        'too-many-failures',
        'too many requests without a valid key came from this address',
        { headers: toRetryAfter(waitMs) },
      );
    },
    readBody: (request, payload, maxBytes) =>
      readHeld({ request, payload, maxBytes, clock, budget }).catch((error: unknown) => {
        markFailed(request);
        throw error;
      }),
    hasFailed: (request) => failed.has(request),
    runAlone(work) {
      const result = last.then(work);
      last = result.catch(() => undefined);
      return result;
    },
  };
}

const reportEveryMs = 60_000;

/** Logs the first failure, and then at most one line a minute with a count: a flood of failures must not fill the log. */
function createFailureLog(clock: Clock): (log: FastifyBaseLogger) => void {
  let count = 0;
  let nextAt = -Infinity;
  return (log) => {
    count++;
    const now = clock.monotonic();
    if (now < nextAt) return;
    log.warn({ count }, 'requests of callers without a valid key or signature were rejected');
    count = 0;
    nextAt = now + reportEveryMs;
  };
}

type Reading = {
  readonly request: FastifyRequest;
  readonly payload: Readable;
  readonly maxBytes: number;
  readonly clock: Clock;
  readonly budget: Budget;
};

function readHeld({ request, payload, maxBytes, clock, budget }: Reading): Promise<HeldBody> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let length = 0;
    const stop = (): void => {
      timer.cancel();
      share.settle();
      payload.off('data', onData).off('end', onEnd).off('error', onError);
    };
    const stopReading = (problem: ProblemError): void => {
      stop();
      share.release();
      chunks.length = 0;
      // The rest is read and dropped, so that the caller receives the response.
      payload.resume();
      reject(problem);
    };
    const done = (isWhole: boolean): void => {
      stop();
      resolve({ chunks, isWhole, release: share.release });
    };
    const onData = (chunk: Buffer): void => {
      chunks.push(chunk);
      length += chunk.length;
      share.add(chunk.length + chunkOverheadBytes);
      if (chunks.length === 0 || length < maxBytes) return;
      payload.pause();
      done(false);
    };
    const onEnd = (): void => done(true);
    const onError = (): void => stopReading(new ProblemError('invalid', 'the body broke off'));
    const share = budget.open(() =>
      stopReading(toUnavailable('too many bodies wait for their callers to be checked', 1000)),
    );
    const timer = clock.setTimer(arrivalMs, () =>
      stopReading(
        new ProblemError('timeout', `a body must arrive within ${arrivalMs / 1000} s here`, {
          // Otherwise the caller could hold the connection by never sending the rest.
          headers: { connection: 'close' },
        }),
      ),
    );
    payload.on('data', onData).once('end', onEnd).once('error', onError);
    continueBody(request.raw);
  });
}

type Share = {
  add(bytes: number): void;
  /** The body has arrived, and is not dropped any more. */
  readonly settle: () => void;
  readonly release: () => void;
};

type Budget = { open(giveUp: () => void): Share };

function createBudget(maxBytes: number): Budget {
  /** Bodies that are still arriving, oldest first. */
  const arriving = new Map<Share, () => void>();
  let used = 0;
  return {
    open(giveUp) {
      let held = 0;
      const share: Share = {
        add(bytes) {
          held += bytes;
          used += bytes;
          for (const [, giveUpOldest] of arriving) {
            if (used <= maxBytes) break;
            giveUpOldest();
          }
        },
        settle: () => void arriving.delete(share),
        release() {
          used -= held;
          held = 0;
        },
      };
      arriving.set(share, giveUp);
      return share;
    },
  };
}

/** An address may have 20 failures at once, and one more each second. */
const failureRate = { burst: 20, everyMs: 1000, maxAddresses: 10_000 } as const;

/** Returns a function that counts a failure of an address, and returns the ms until it may fail again, or 0. */
function createFailureCount(clock: Clock): (address: string) => number {
  /** Monotonic ms at which an address has no failures left, oldest entry first. */
  const clearedAt = new Map<string, number>();
  return (address) => {
    // The address may come from X-Forwarded-For, whose text has any length: a hash bounds the key.
    const key = hash('sha256', address, 'base64');
    const now = clock.monotonic();
    const then = Math.max(now, clearedAt.get(key) ?? 0) + failureRate.everyMs;
    const waitMs = then - now - failureRate.burst * failureRate.everyMs;
    if (waitMs > 0) return waitMs;
    clearedAt.delete(key);
    clearedAt.set(key, then);
    if (clearedAt.size > failureRate.maxAddresses) {
      for (const [oldest] of clearedAt) {
        clearedAt.delete(oldest);
        break;
      }
    }
    return 0;
  };
}
