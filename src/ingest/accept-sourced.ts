import type { Fault, Memo } from '../envelope.js';
import type { Metrics } from '../metrics.js';
import type { AcceptDeps, Append, RefusedAll } from './accept.js';
import { entriesPerTurn, turn } from './collect.js';
import { count, countWarnings } from './counts.js';
import type { DraftContext } from './draft.js';
import { draftSourced, type DraftedSourced } from './draft-sourced.js';
import { findPeople, toMemoKey, toMemos, type Recall } from './people.js';
import { createToE164 } from './phone.js';
import type { SourcedPost } from './sourced.js';

/** What became of a source's request. */
export type AcceptedSourced =
  | {
      readonly kind: 'taken';
      readonly accepted: number;
      readonly duplicates: number;
      /** Entries that cannot be sent as they stand; they are among the dead letters now. */
      readonly rejected: readonly Rejected[];
      /** This very delivery was taken before, so nothing was done. */
      readonly repeat: boolean;
    }
  /** `strict`, and an entry is at fault: nothing was taken. */
  | { readonly kind: 'invalid'; readonly rejected: readonly Rejected[] }
  | RefusedAll;

export type Rejected = { readonly index: number; readonly errors: readonly Fault[] };

/** Strict: all or nothing. Else an entry at fault becomes a dead letter, since no SDK or shop reads the answer. */
export type SourcedOptions = {
  readonly strict: boolean;
  /** It was counted, and went through the mapping file, when it was posted. */
  readonly isAgain?: boolean;
};

export type AcceptSourced = (
  post: SourcedPost,
  options: SourcedOptions,
) => Promise<AcceptedSourced>;

/** What it asks of a store beyond `append`. */
export type Memory = {
  readonly remember: (
    memos: readonly Memo[],
  ) => Promise<
    { readonly ok: true } | { readonly ok: false; readonly refusal: Omit<RefusedAll, 'kind'> }
  >;
  readonly recall: Recall;
};

export type SourcedDeps = Omit<AcceptDeps, 'store' | 'metrics' | 'draftMany'> & {
  readonly store: Memory & { readonly append: Append };
  readonly metrics: Pick<Metrics, 'ingest' | 'ingestWarnings' | 'settled' | 'sourceSkipped'>;
  /** What the mapping file changes of a post. Absent: nothing. */
  readonly shape?: ((post: SourcedPost) => SourcedPost) | undefined;
};

/** The accept half behind a source's map. Rejects for our own faults, and where a store's server is away. */
export function createAcceptSourced(deps: SourcedDeps): AcceptSourced {
  const { store, metrics, clock, newId, shape = asItIs } = deps;
  const toE164 = createToE164(deps.defaultCountry);
  const toContext = (): DraftContext => ({ acceptedAt: clock.now(), newId, toE164 });
  return async (posted, { strict, isAgain = false }) => {
    const post = isAgain ? posted : shape(posted);
    const { source, delivery } = post;
    const deliveryKey = delivery === undefined ? null : toMemoKey(source, 'delivery', delivery);
    if (deliveryKey !== null && (await store.recall([deliveryKey]))[0] === known) {
      metrics.sourceSkipped.inc({ source, reason: 'repeat' });
      return { kind: 'taken', accepted: 0, duplicates: 0, rejected: [], repeat: true };
    }
    const complete = await findPeople(post, (keys) => store.recall(keys));
    const drafted = await draftAll({ ...post, entries: post.entries.map(complete) }, toContext());
    const rejected = drafted.filter(({ errors }) => errors.length > 0).map(toRejected);
    if (strict && rejected.length > 0) {
      for (const { draft } of isAgain ? [] : drafted) count(metrics, draft.lane, { invalid: 1 });
      return { kind: 'invalid', rejected };
    }
    const taken = await take(post, drafted, deps);
    if (taken.kind === 'refused') return taken;
    // Only now: a delivery that was refused comes again, and must not pass for a repeat.
    if (deliveryKey !== null) await store.remember([{ key: deliveryKey, value: known }]);
    for (const reason of post.skipped) metrics.sourceSkipped.inc({ source, reason });
    const { duplicates } = taken;
    const accepted = drafted.length - duplicates - rejected.length;
    return { kind: 'taken', accepted, duplicates, rejected, repeat: false };
  };
}

/** What it tells is kept, too, before the answer: else it would be told to nobody. */
async function take(
  post: SourcedPost,
  drafted: readonly DraftedSourced[],
  { store, metrics }: SourcedDeps,
): Promise<RefusedAll | { readonly kind: 'appended'; readonly duplicates: number }> {
  const drafts = drafted.map(({ draft }) => draft);
  const [remembered, appended] = await Promise.all([
    store.remember(toMemos(post)),
    drafts.length === 0 ? nothing : store.append(drafts),
  ]);
  if (!appended.ok) {
    for (const { lane } of drafts) count(metrics, lane, { refused: 1 });
    return { kind: 'refused', ...appended.refusal };
  }
  let duplicates = 0;
  drafted.forEach((one, at) => {
    const isDuplicate = appended.taken[at]?.duplicate === true;
    if (isDuplicate) duplicates++;
    countTaken(metrics, one, isDuplicate);
  });
  if (!remembered.ok) return { kind: 'refused', ...remembered.refusal };
  return { kind: 'appended', duplicates };
}

function toRejected({ index, errors }: DraftedSourced): Rejected {
  return { index, errors };
}

const asItIs = (post: SourcedPost): SourcedPost => post;
const known = '1';
const nothing: Awaited<ReturnType<Append>> = { ok: true, taken: [] };

async function draftAll(
  { source, entries }: SourcedPost,
  context: DraftContext,
): Promise<readonly DraftedSourced[]> {
  const drafted: DraftedSourced[] = [];
  for (const entry of entries) {
    if (drafted.length > 0 && drafted.length % entriesPerTurn === 0) await turn();
    drafted.push(draftSourced(source, entry, context));
  }
  return drafted;
}

/** A dead letter is accepted and settled at once, so that accepted = settled + buffered stays true. */
function countTaken(
  metrics: SourcedDeps['metrics'],
  { draft: { lane, bury }, warnings }: DraftedSourced,
  isDuplicate: boolean,
): void {
  count(metrics, lane, isDuplicate ? { duplicate: 1 } : { accepted: 1 });
  countWarnings(metrics, lane, warnings.length);
  if (bury !== undefined) metrics.settled.inc({ lane, outcome: 'dead_lettered' });
}
