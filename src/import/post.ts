import { wait, type Clock } from '../clock.js';
import type { Lane } from '../model/lane.js';
import { toAnswer, type Answer } from './answer.js';

/** Events that an import has Klaviyo record without triggering flows; `age`: those older than the relay's BACKFILL_AFTER. */
export const backfills = ['all', 'age', 'none'] as const;
export type Backfill = (typeof backfills)[number];

export type PostDeps = {
  /** Where the relay is, without a slash at the end. */
  readonly url: string;
  readonly lane: Lane;
  readonly backfill: Backfill;
  readonly key: string | null;
  readonly clock: Clock;
  /** In [0, 1). */
  readonly random: () => number;
  /** Aborts where the import is to end: no wait is begun then, and a request under way is finished. */
  readonly signal: AbortSignal;
  /** Called before each wait. */
  readonly onWait: (detail: string, waitMs: number) => void;
};

/** Posts entries, a line of JSON each, until there is an answer that says what became of them. */
export type Post = (body: string) => Promise<Exclude<Answer, { kind: 'wait' | 'failed' }>>;

/** Beyond what a relay takes for a request: REQUEST_TIMEOUT_MS and SYNC_TIMEOUT_MS, 30 s each by default. */
const timeoutMs = 90_000;
const firstBackoffMs = 500;
const longestBackoffMs = 30_000;
/** In a row; with the backoff above that is about three minutes. */
const maxFailures = 12;

export function createPost(deps: PostDeps): Post {
  const { clock, random, signal, onWait } = deps;
  return async (body) => {
    for (let failures = 0; ;) {
      const answer = await postOnce(deps, body);
      if (answer.kind !== 'wait' && answer.kind !== 'failed') return answer;
      if (answer.kind === 'failed') failures++;
      if (failures >= maxFailures) {
        return { kind: 'stop', detail: `${failures} attempts in a row failed: ${answer.detail}` };
      }
      const waitMs = answer.kind === 'wait' ? answer.waitMs : toBackoff(failures, random);
      if (!signal.aborted) {
        onWait(answer.detail, waitMs);
        await wait(clock, waitMs, signal);
      }
      if (signal.aborted) return { kind: 'stop', detail: `told to stop (${answer.detail})` };
    }
  };
}

/** Doubles with each failure; the upper half is left to chance. */
function toBackoff(failures: number, random: () => number): number {
  const ms = Math.min(firstBackoffMs * 2 ** (failures - 1), longestBackoffMs);
  return (ms / 2) * (1 + random());
}

function toAddress({ url, lane, backfill }: PostDeps): string {
  const query = lane === 'events' && backfill !== 'age' ? `?backfill=${backfill === 'all'}` : '';
  return `${url}/v1/${lane}/batch${query}`;
}

/** Never rejects: a relay that cannot be reached is an answer, too. */
async function postOnce(deps: PostDeps, body: string): Promise<Answer> {
  const { key, clock } = deps;
  const overdue = new AbortController();
  const timer = clock.setTimer(timeoutMs, () => overdue.abort());
  try {
    const response = await fetch(toAddress(deps), {
      method: 'POST',
      headers: {
        'content-type': 'application/x-ndjson',
        ...(key !== null && { authorization: `Bearer ${key}` }),
      },
      body,
      // The key is for this relay alone.
      redirect: 'manual',
      signal: overdue.signal,
    });
    const text = await response.text();
    const retryAfter = response.headers.get('retry-after');
    return toAnswer({ status: response.status, retryAfter, text, now: clock.now() });
  } catch (error) {
    if (overdue.signal.aborted) {
      return { kind: 'failed', detail: `no answer in ${timeoutMs / 1000} s` };
    }
    // fetch itself says `fetch failed`; what failed is its cause.
    const cause = error instanceof Error ? (error.cause ?? error) : error;
    if (cause instanceof Error && 'code' in cause) {
      return { kind: 'failed', detail: String(cause.code) };
    }
    // No fault of the network: a port that fetch does not go to, for one.
    return { kind: 'stop', detail: cause instanceof Error ? cause.message : 'fetch failed' };
  } finally {
    timer.cancel();
  }
}
