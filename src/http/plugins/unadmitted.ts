import type { Readable } from 'node:stream';
import { hash } from 'node:crypto';
import type { FastifyBaseLogger, FastifyRequest } from 'fastify';
import type { Clock } from '../../clock.js';
import type { Metrics } from '../../metrics.js';
import { continueBody } from './expect-continue.js';
import { ProblemError, toRetryAfter, toUnavailable } from './problems.js';

/**
 * Bounds what requests cost whose caller is not admitted. Nearly all are judged by their headers, before
 * a byte of a body is read. Two kinds are not: an SDK of Segment may have its key in the body, and the
 * signature of a webhook is over the body. Their bodies share one budget of memory and have little
 * time to arrive; where the budget is used up, the body that has waited longest is given up, so that
 * those who hold bodies back do not keep out those who send theirs at once.
 *
 * Requests without a valid key are counted, and each address has a number of them; past it the answer is
 * 429. A valid key always passes: callers behind one NAT or proxy share an address.
 */
export type Unadmitted = {
  /** Counts a request without a valid key. Returns `problem`, or the 429 where its address had too many. */
  recordFailure(request: FastifyRequest, problem: ProblemError): ProblemError;
  /** Reads a body up to `maxBytes`, and leaves the rest in `payload`. */
  readBody(request: FastifyRequest, payload: Readable, maxBytes: number): Promise<HeldBody>;
  /** True for a request that `refuse` or `read` gave up. */
  hasFailed(request: FastifyRequest): boolean;
  /** Decodes for one such request at a time: the others wait, and admitted callers' bodies do not. */
  runAlone<T>(work: () => Promise<T>): Promise<T>;
};

export type HeldBody = {
  readonly chunks: readonly Buffer[];
  /** False where more is left in the payload. */
  readonly isWhole: boolean;
  /** Gives the bytes back to the budget: once the caller is admitted, or refused. */
  readonly release: () => void;
};

export const maxHeldBytes = 33_554_432;
/** What a chunk costs beside its bytes: a body can come in chunks of one byte. */
const chunkBytes = 256;
/** Shopify gives up after 5 s, and an SDK's batch has 500 KB. */
const arrivalMs = 5000;

export function createUnadmitted(deps: {
  readonly clock: Clock;
  readonly metrics: Metrics;
}): Unadmitted {
  const { clock, metrics } = deps;
  const budget = createBudget(maxHeldBytes);
  const isOverFailures = createFailureCount(clock);
  const refused = new WeakSet<FastifyRequest>();
  const report = createReport(clock);
  const note = (request: FastifyRequest): void => {
    refused.add(request);
    report(request.log);
  };
  let last: Promise<unknown> = Promise.resolve();
  return {
    recordFailure(request, problem) {
      note(request);
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
        note(request);
        throw error;
      }),
    hasFailed: (request) => refused.has(request),
    runAlone(work) {
      const result = last.then(work);
      last = result.catch(() => undefined);
      return result;
    },
  };
}

const reportEveryMs = 60_000;

/** A line for the first backpressure, and one a minute for those since: anybody can send a flood of them. */
function createReport(clock: Clock): (log: FastifyBaseLogger) => void {
  let count = 0;
  let nextAt = -Infinity;
  return (log) => {
    count++;
    const now = clock.monotonic();
    if (now < nextAt) return;
    log.warn({ count }, 'requests of callers without a valid key or signature were refused');
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
      payload.off('data', take).off('end', end).off('error', breakOff);
    };
    const giveUp = (problem: ProblemError): void => {
      stop();
      share.release();
      chunks.length = 0;
      // The rest is dropped as it comes, so that the caller gets to see the answer.
      payload.resume();
      reject(problem);
    };
    const done = (isWhole: boolean): void => {
      stop();
      resolve({ chunks, isWhole, release: share.release });
    };
    const take = (chunk: Buffer): void => {
      chunks.push(chunk);
      length += chunk.length;
      share.add(chunk.length + chunkBytes);
      if (chunks.length === 0 || length < maxBytes) return;
      payload.pause();
      done(false);
    };
    const end = (): void => done(true);
    const breakOff = (): void => giveUp(new ProblemError('invalid', 'the body broke off'));
    const share = budget.open(() =>
      giveUp(toUnavailable('too many bodies wait for their callers to be checked', 1000)),
    );
    const timer = clock.setTimer(arrivalMs, () =>
      giveUp(
        new ProblemError('timeout', `a body must arrive within ${arrivalMs / 1000} s here`, {
          // Nothing keeps a caller from holding back the rest.
          headers: { connection: 'close' },
        }),
      ),
    );
    payload.on('data', take).once('end', end).once('error', breakOff);
    continueBody(request.raw);
  });
}

type Share = {
  add(bytes: number): void;
  /** The body has arrived: it is not given up any more. */
  readonly settle: () => void;
  readonly release: () => void;
};

type Budget = { open(giveUp: () => void): Share };

function createBudget(maxBytes: number): Budget {
  /** Bodies that still arrive, the oldest first. */
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
const failures = { burst: 20, everyMs: 1000, maxAddresses: 10_000 } as const;

/** Counts a failure of an address; returns for how many ms it has had too many, or 0. */
function createFailureCount(clock: Clock): (address: string) => number {
  /** When the failures of an address will all be forgotten. */
  const forgottenAt = new Map<string, number>();
  return (address) => {
    // X-Forwarded-For may say anything, at any length.
    const key = hash('sha256', address, 'base64');
    const now = clock.monotonic();
    const then = Math.max(now, forgottenAt.get(key) ?? 0) + failures.everyMs;
    const waitMs = then - now - failures.burst * failures.everyMs;
    if (waitMs > 0) return waitMs;
    forgottenAt.delete(key);
    forgottenAt.set(key, then);
    if (forgottenAt.size > failures.maxAddresses) {
      for (const [oldest] of forgottenAt) {
        forgottenAt.delete(oldest);
        break;
      }
    }
    return 0;
  };
}
