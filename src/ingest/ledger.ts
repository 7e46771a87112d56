import type { Fact } from '../model/fact.js';
import type { AppendBackpressure } from './append.js';
import type { Backpressure } from '../model/store.js';
import { toFactKey, type GetFacts } from './people.js';
import type { SourcePost } from './source-entry.js';

type LedgerStore = {
  readonly getFacts: GetFacts;
  readonly putFacts: (
    facts: readonly Fact[],
  ) => Promise<{ readonly ok: true } | { readonly ok: false; readonly backpressure: Backpressure }>;
};

/** Runs `work` with the post and what its ledger adds to it. */
export type WithLedger = <T>(
  post: SourcePost,
  work: (post: SourcePost) => Promise<T>,
) => Promise<T | AppendBackpressure>;

/**
 * A ledger is stored before the entries that it adds: a request that is repeated because the store took
 * no entries finds what the first one wrote, and gives the same entries again. Requests with one ledger
 * run one after the other within a relay.
 */
export function createLedgers(store: LedgerStore): WithLedger {
  const runInTurn = createTurns();
  return (post, work) => {
    const { ledger, source } = post;
    if (ledger === undefined) return work(post);
    const key = toFactKey(source, 'ledger', ledger.key);
    return runInTurn(key, async () => {
      const [kept = null] = await store.getFacts([key]);
      const resolved = ledger.resolve(kept);
      if (resolved.kept !== kept && resolved.kept !== null) {
        const put = await store.putFacts([{ kind: ledger.kind, key, value: resolved.kept }]);
        if (!put.ok) return { kind: 'backpressure', ...put.backpressure };
      }
      return work(addTo(post, resolved));
    });
  };
}

function addTo(
  post: SourcePost,
  { entries, skipped }: Pick<SourcePost, 'entries' | 'skipped'>,
): SourcePost {
  return {
    ...post,
    ledger: undefined,
    entries: [...post.entries, ...entries],
    skipped: [...post.skipped, ...skipped],
  };
}

/** Runs work with the same key one after the other. */
function createTurns(): <T>(key: string, work: () => Promise<T>) => Promise<T> {
  const latest = new Map<string, Promise<unknown>>();
  return async (key, work) => {
    const turn = (latest.get(key) ?? Promise.resolve()).then(work, work);
    latest.set(key, turn);
    try {
      return await turn;
    } finally {
      if (latest.get(key) === turn) latest.delete(key);
    }
  };
}
