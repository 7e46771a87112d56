import type { AppendBackpressure } from './append.js';
import { toFactKey, type FactStore } from './facts.js';
import type { SourcePost } from './source-entry.js';

/** Runs `work` with the post and the entries and skips that its ledger adds. */
export type WithLedger = <T>(
  post: SourcePost,
  work: (post: SourcePost) => Promise<T>,
) => Promise<T | AppendBackpressure>;

/**
 * Resolves the ledger of a post (`Ledger` in source-entry.ts) against the stored text. The new text is
 * stored before the entries that it adds: if the store does not accept the entries, the repeated request
 * finds the new text and gives the same entries again. Within a relay, requests with the same ledger run
 * one after the other.
 */
export function createLedgers(store: FactStore): WithLedger {
  /** The latest run of each ledger. */
  const latest = new Map<string, Promise<unknown>>();
  return async (post, work) => {
    const { ledger, source } = post;
    if (ledger === undefined) return work(post);
    const key = toFactKey(source, 'ledger', ledger.key);
    const resolveAndWork = async () => {
      const [kept = null] = await store.getFacts([key]);
      const resolved = ledger.resolve(kept);
      if (resolved.kept !== kept && resolved.kept !== null) {
        const put = await store.putFacts([{ kind: ledger.kind, key, value: resolved.kept }]);
        if (!put.ok) return { kind: 'backpressure' as const, ...put.backpressure };
      }
      return work({
        ...post,
        ledger: undefined,
        entries: [...post.entries, ...resolved.entries],
        skipped: [...post.skipped, ...resolved.skipped],
      });
    };
    const run = (latest.get(key) ?? Promise.resolve()).then(resolveAndWork, resolveAndWork);
    latest.set(key, run);
    try {
      return await run;
    } finally {
      if (latest.get(key) === run) latest.delete(key);
    }
  };
}
