import { lanes, type Fact, type Fault } from '../envelope.js';
import type { Metrics } from '../metrics.js';
import type { AcceptDeps, Append, RefusedAll } from './accept.js';
import { Slices } from '../turns.js';
import { count, countBackfilled, countWarnings } from './counts.js';
import { toBackfillBefore, type DraftContext } from './draft.js';
import { draftSourced, type DraftedSourced } from './draft-source-entry.js';
import { limits } from './limits.js';
import { findPeople, toFactKey, toFacts, type Complete, type GetFacts } from './people.js';
import { createToE164 } from './phone.js';
import type { SourcedEntry, SourcedPost } from './source-entry.js';

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
  readonly putFacts: (
    facts: readonly Fact[],
  ) => Promise<
    { readonly ok: true } | { readonly ok: false; readonly refusal: Omit<RefusedAll, 'kind'> }
  >;
  readonly getFacts: GetFacts;
};

export type SourcedDeps = Omit<AcceptDeps, 'store' | 'metrics' | 'draftMany'> & {
  readonly store: Memory & { readonly append: Append };
  readonly metrics: AcceptDeps['metrics'] & Pick<Metrics, 'settled' | 'sourceSkipped'>;
  /** What the mapping file changes of a post. Absent: nothing. */
  readonly shape?: ((post: SourcedPost) => SourcedPost) | undefined;
};

/** The accept half behind a source's map. Rejects for our own faults, and where a store's server is away. */
export function createAcceptSourced(deps: SourcedDeps): AcceptSourced {
  const { store, metrics, clock, newId, shape = asItIs } = deps;
  const toE164 = createToE164(deps.defaultCountry);
  const toContext = ({ firstAcceptedAt }: SourcedPost): DraftContext => {
    const acceptedAt = clock.now();
    const first = { acceptedAt: firstAcceptedAt ?? acceptedAt, afterMs: deps.backfillAfterMs };
    const backfillBefore = toBackfillBefore(first);
    return { acceptedAt, backfillBefore, newId, toE164, rules: deps.eventRules() };
  };
  return async (posted, { strict, isAgain = false }) => {
    const slices = new Slices(clock);
    const post = isAgain ? posted : await shapeInSlices(posted, shape, slices);
    const { source, delivery } = post;
    const deliveryKey = delivery === undefined ? null : toFactKey(source, 'delivery', delivery);
    if (deliveryKey !== null && (await store.getFacts([deliveryKey]))[0] === known) {
      metrics.sourceSkipped.inc({ source, reason: 'repeat' });
      return { kind: 'taken', accepted: 0, duplicates: 0, rejected: [], repeat: true };
    }
    const complete = await findPeople(post, (keys) => store.getFacts(keys), slices);
    const drafted = await draftAll(post, { complete, context: toContext(post), slices });
    if (drafted === null) return { kind: 'invalid', rejected: tooLarge };
    const rejected = drafted.filter(({ errors }) => errors.length > 0).map(toRejected);
    if (strict && rejected.length > 0) {
      for (const { draft } of isAgain ? [] : drafted) count(metrics, draft.lane, { invalid: 1 });
      return { kind: 'invalid', rejected };
    }
    const taken = await take(post, drafted, { ...deps, slices });
    if (taken.kind === 'refused') return taken;
    // Only now: a delivery that was refused comes again, and must not pass for a repeat.
    if (deliveryKey !== null)
      await store.putFacts([{ kind: 'delivery', key: deliveryKey, value: known }]);
    for (const [reason, number] of tally(post.skipped)) {
      metrics.sourceSkipped.inc({ source, reason }, number);
    }
    const { duplicates } = taken;
    const accepted = drafted.length - duplicates - rejected.length;
    return { kind: 'taken', accepted, duplicates, rejected, repeat: false };
  };
}

/** What it tells is kept, too, before the answer: else it would be told to nobody. */
async function take(
  post: SourcedPost,
  drafted: readonly DraftedSourced[],
  { store, metrics, slices }: SourcedDeps & { readonly slices: Slices },
): Promise<RefusedAll | { readonly kind: 'appended'; readonly duplicates: number }> {
  const drafts = drafted.map(({ draft }) => draft);
  const [factsPut, appended] = await Promise.all([
    putAllFacts(post, store, slices),
    drafts.length === 0 ? nothing : store.append(drafts),
  ]);
  if (!appended.ok) {
    for (const [lane, refused] of tally(drafts.map((draft) => draft.lane))) {
      count(metrics, lane, { refused });
    }
    return { kind: 'refused', ...appended.refusal };
  }
  countBackfilled(metrics, drafts, appended.taken);
  const isDuplicate = appended.taken.map(({ duplicate }) => duplicate);
  countTaken(metrics, drafted, isDuplicate);
  const duplicates = isDuplicate.filter((is) => is).length;
  if (!factsPut.ok) return { kind: 'refused', ...factsPut.refusal };
  return { kind: 'appended', duplicates };
}

function toRejected({ index, errors }: DraftedSourced): Rejected {
  return { index, errors };
}

const asItIs = (post: SourcedPost): SourcedPost => post;
const known = '1';
const nothing: Awaited<ReturnType<Append>> = { ok: true, taken: [] };

/** What stands beside a batch goes into each of its entries: a small request can come to gigabytes. */
const tooLarge: readonly Rejected[] = [
  {
    index: 0,
    errors: [{ pointer: '', detail: `comes to more than ${limits.sourcedBytes} bytes` }],
  },
];

type Drafting = {
  readonly complete: Complete;
  readonly context: DraftContext;
  readonly slices: Slices;
};

/** Null where it comes to more than the relay takes at once. */
async function draftAll(
  { source, entries }: SourcedPost,
  { complete, context, slices }: Drafting,
): Promise<readonly DraftedSourced[] | null> {
  const drafted: DraftedSourced[] = [];
  let bytes = 0;
  for (const entry of entries) {
    if (slices.isOver()) await slices.next();
    const one = draftSourced(source, complete(entry), context);
    bytes += one.draft.payload.length;
    if (bytes > limits.sourcedBytes) return null;
    drafted.push(one);
  }
  return drafted;
}

/** Entries that the mapping file changes in one go, and facts that are kept in one go. */
const perStep = 100;

/** Each entry is changed by itself, so that some neighbours at a time come to the same. */
async function shapeInSlices(
  post: SourcedPost,
  shape: (post: SourcedPost) => SourcedPost,
  slices: Slices,
): Promise<SourcedPost> {
  if (post.entries.length <= perStep || shape === asItIs) return shape(post);
  const entries: SourcedEntry[] = [];
  const skipped = [...post.skipped];
  for (let from = 0; from < post.entries.length; from += perStep) {
    if (slices.isOver()) await slices.next();
    const some = post.entries.slice(from, from + perStep);
    const shaped = shape({ ...post, entries: some, skipped: [] });
    entries.push(...shaped.entries);
    skipped.push(...shaped.skipped);
  }
  return { ...post, entries, skipped };
}

async function putAllFacts(
  post: SourcedPost,
  store: Pick<Memory, 'putFacts'>,
  slices: Slices,
): ReturnType<Memory['putFacts']> {
  for (let from = 0; from < post.people.length; from += perStep) {
    if (slices.isOver()) await slices.next();
    const some = post.people.slice(from, from + perStep);
    const put = await store.putFacts(toFacts({ ...post, people: some }));
    if (!put.ok) return put;
  }
  return { ok: true };
}

/** How often each is in it. */
function tally<T>(all: readonly T[]): ReadonlyMap<T, number> {
  const counts = new Map<T, number>();
  for (const each of all) counts.set(each, (counts.get(each) ?? 0) + 1);
  return counts;
}

/** A dead letter is accepted and settled at once, so that accepted = settled + buffered stays true. */
function countTaken(
  metrics: SourcedDeps['metrics'],
  drafted: readonly DraftedSourced[],
  isDuplicate: readonly boolean[],
): void {
  for (const lane of lanes) {
    const counts = { accepted: 0, duplicate: 0, warnings: 0, buried: 0 };
    drafted.forEach(({ draft, warnings }, at) => {
      if (draft.lane !== lane) return;
      counts[isDuplicate[at] === true ? 'duplicate' : 'accepted']++;
      counts.warnings += warnings.length;
      if (draft.bury !== undefined) counts.buried++;
    });
    const { accepted, duplicate, warnings, buried } = counts;
    count(metrics, lane, { accepted, duplicate });
    countWarnings(metrics, lane, warnings);
    if (buried > 0) metrics.settled.inc({ lane, outcome: 'dead_lettered' }, buried);
  }
}
