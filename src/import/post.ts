/**
 * Posts batches to the relay with retries: it waits as long as a 429 or 503 asks, and backs off
 * after failures.
 */

import { wait, type Clock } from '../clock.js';
import { entryNames } from '../ingest/schema.js';
import { parseRelayResponse, type RelayResult } from './relay-response.js';
import type { ImportLane } from './fields.js';

/**
 * Which events Klaviyo records without triggering flows: all, none, or those older than the relay's
 * BACKFILL_AFTER (`age`).
 */
export const backfills = ['all', 'age', 'none'] as const;
export type Backfill = (typeof backfills)[number];

export type PostDeps = {
  /** The base URL of the relay, without a trailing slash. */
  readonly url: string;
  readonly lane: ImportLane;
  readonly backfill: Backfill;
  readonly key: string | null;
  readonly clock: Clock;
  /** In [0, 1). */
  readonly random: () => number;
  /**
   * Aborts when the import should stop. No wait begins then, and a request in flight is finished.
   */
  readonly signal: AbortSignal;
  /** Called before each wait. */
  readonly onWait: (detail: string, waitMs: number) => void;
};

/**
 * Posts entries, one line of JSON each, and retries until the response settles them or the import
 * must stop.
 */
export type Post = (body: string) => Promise<Exclude<RelayResult, { kind: 'wait' | 'failed' }>>;

/**
 * Above the relay's own limits for a request: REQUEST_TIMEOUT_MS and SYNC_TIMEOUT_MS, 30 s each by
 * default.
 */
const timeoutMs = 90_000;
const firstBackoffMs = 500;
const longestBackoffMs = 30_000;
/** Consecutive failures. With the backoff above they take about three minutes. */
const maxFailures = 12;

export function createPost(deps: PostDeps): Post {
  const { clock, random, signal, onWait } = deps;
  return async (body) => {
    for (let failures = 0; ;) {
      const result = await postOnce(deps, body);
      if (result.kind !== 'wait' && result.kind !== 'failed') return result;
      if (result.kind === 'failed') failures++;
      if (failures >= maxFailures) {
        return { kind: 'stop', detail: `${failures} attempts in a row failed: ${result.detail}` };
      }
      const waitMs = result.kind === 'wait' ? result.waitMs : computeBackoffMs(failures, random);
      if (!signal.aborted) {
        onWait(result.detail, waitMs);
        await wait(clock, waitMs, signal);
      }
      if (signal.aborted) return { kind: 'stop', detail: `interrupted (${result.detail})` };
    }
  };
}

/** Doubles with each failure. Jitter covers the upper half. */
function computeBackoffMs(failures: number, random: () => number): number {
  const ms = Math.min(firstBackoffMs * 2 ** (failures - 1), longestBackoffMs);
  return (ms / 2) * (1 + random());
}

function createBatchUrl({ url, lane, backfill }: PostDeps): string {
  const query = lane === 'events' && backfill !== 'age' ? `?backfill=${backfill === 'all'}` : '';
  return `${url}/v1/${entryNames[lane].many}/batch${query}`;
}

/** Never rejects: an unreachable relay is a result too. */
async function postOnce(deps: PostDeps, body: string): Promise<RelayResult> {
  const { key, clock } = deps;
  const overdue = new AbortController();
  const timer = clock.setTimer(timeoutMs, () => overdue.abort());
  try {
    const response = await fetch(createBatchUrl(deps), {
      method: 'POST',
      headers: {
        'content-type': 'application/x-ndjson',
        ...(key !== null && { authorization: `Bearer ${key}` }),
      },
      body,
      // The key must not be sent to another server.
      redirect: 'manual',
      signal: overdue.signal,
    });
    const text = await response.text();
    const retryAfter = response.headers.get('retry-after');
    return parseRelayResponse({ status: response.status, retryAfter, text, now: clock.now() });
  } catch (error) {
    if (overdue.signal.aborted) {
      return { kind: 'failed', detail: `no response within ${timeoutMs / 1000} s` };
    }
    // fetch itself reports `fetch failed`; the reason is its cause.
    const cause = error instanceof Error ? (error.cause ?? error) : error;
    if (cause instanceof Error && 'code' in cause) {
      return { kind: 'failed', detail: String(cause.code) };
    }
    // Not a network failure, for example a port that fetch blocks.
    return { kind: 'stop', detail: cause instanceof Error ? cause.message : 'fetch failed' };
  } finally {
    timer.cancel();
  }
}
