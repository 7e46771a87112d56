import type { Draft } from '../model/envelope.js';
import type { Fact } from '../model/fact.js';
import type { Issue } from '../model/outcome.js';
import type { AcceptDeps } from './accept.js';
import type { Backpressure } from '../model/store.js';
import { appendDrafts, type AppendDeps, type Appended, type AppendBackpressure } from './append.js';
import { Slices } from '../slices.js';
import { count, countWarnings } from './counts.js';
import { toBackfillBefore } from './draft.js';
import {
  draftSourceEntry,
  invalidEntry,
  type DraftedSourceEntry,
  type SourceEntryContext,
} from './draft-source-entry.js';
import { createLedgers } from './ledger.js';
import { limits } from './limits.js';
import { Devices } from './devices.js';
import { findPeople, toFactKey, toFacts, type Finding, type GetFacts } from './people.js';
import { createToE164, type ToE164 } from './phone.js';
import type { ActivityPart, SourceActivity } from './source-activity.js';
import type { SourceEntry, SourcePost, SourceWarning } from './source-entry.js';
import type { WaitingBounds } from './waiting-bounds.js';

/** What became of a source's request. */
export type AcceptedFromSource =
  | {
      readonly kind: 'accepted';
      readonly accepted: number;
      readonly duplicates: number;
      /** Entries that wait until an earlier or later request says whom they are about. */
      readonly waiting: number;
      /** Entries that cannot be sent as they stand; they are among the dead letters now. */
      readonly rejected: readonly Rejected[];
      /** What could not be read or was altered, with the index of its entry. */
      readonly warnings: readonly (SourceWarning & { readonly index: number })[];
      /** Why parts that the ledger of the post decides on are not sent. */
      readonly skipped?: readonly string[];
      /** This very delivery was taken before, so nothing was done. */
      readonly repeat: boolean;
    }
  /** `strict`, and an entry is at fault: nothing was taken. */
  | { readonly kind: 'invalid'; readonly rejected: readonly Rejected[] }
  | AppendBackpressure;

export type Rejected = {
  readonly index: number;
  /** Of the dead letter that it becomes, unless all is refused. */
  readonly code: string;
  readonly errors: readonly Issue[];
};

/** Strict: all or nothing. Else an entry at fault becomes a dead letter, since no SDK or shop reads the answer. */
export type FromSourceOptions = {
  readonly strict: boolean;
  /** It was counted, and went through the mapping file, when it was posted; it does not wait again. */
  readonly isReingest?: boolean;
};

export type AcceptFromSource = (
  post: SourcePost,
  options: FromSourceOptions,
) => Promise<AcceptedFromSource>;

/** What it asks of a store beyond `append`. */
export type FactStore = {
  readonly putFacts: (
    facts: readonly Fact[],
  ) => Promise<{ readonly ok: true } | { readonly ok: false; readonly backpressure: Backpressure }>;
  readonly getFacts: GetFacts;
};

export type FromSourceDeps = Omit<AcceptDeps, 'store' | 'metrics' | 'draftMany'> & {
  readonly store: FactStore & AppendDeps['store'];
  readonly metrics: AcceptDeps['metrics'];
  /** Counts what becomes of each part, for GET /v1/sources and the metrics. */
  readonly activity: Pick<SourceActivity, 'add'>;
  /** Absent: no entry waits. One that names a person who is not known is a dead letter at once. */
  readonly waitingBounds?: Pick<WaitingBounds, 'reserve' | 'release'> | undefined;
  /** Called with the keys of facts about people once they are kept. */
  readonly onFacts?: ((keys: readonly string[]) => void) | undefined;
  /** What the mapping file changes of a post. Absent: nothing. */
  readonly applyMapping?: ((post: SourcePost) => SourcePost) | undefined;
};

/** The accept half behind a source's map. Rejects for our own faults, and where a store's server is away. */
export function createAcceptFromSource(deps: FromSourceDeps): AcceptFromSource {
  const {
    store,
    metrics,
    clock,
    newId,
    applyMapping: shape = asItIs,
    waitingBounds: waitingRoom,
  } = deps;
  const toE164 = createToE164(deps.defaultCountry);
  const devices = new Devices();
  const toContext = (
    { firstAcceptedAt }: SourcePost,
    reserveWait: SourceEntryContext['reserveWait'],
  ): SourceEntryContext => {
    const acceptedAt = clock.now();
    const first = { acceptedAt: firstAcceptedAt ?? acceptedAt, afterMs: deps.backfillAfterMs };
    const backfillBefore = toBackfillBefore(first);
    const rules = deps.eventRules();
    return { acceptedAt, backfillBefore, newId, toE164, rules, reserveWait };
  };
  const acceptPost = async (
    posted: SourcePost,
    { strict, isReingest: isAgain = false }: FromSourceOptions,
    reserveWait: SourceEntryContext['reserveWait'],
  ): Promise<AcceptedFromSource> => {
    const slices = new Slices(clock);
    const shaped = isAgain ? posted : await shapeInSlices(posted, shape, slices);
    const { source, delivery } = shaped;
    const deliveryKey = delivery === undefined ? null : toFactKey(source, 'delivery', delivery);
    if (deliveryKey !== null && (await store.getFacts([deliveryKey]))[0] === known) {
      deps.activity.add(shaped, [{ outcome: 'skipped', reason: 'repeat' }]);
      return { ...nothingTaken, repeat: true };
    }
    const finding = { getFacts: (keys: readonly string[]) => store.getFacts(keys), toE164, slices };
    const { post, facts } = await completeAll(shaped, devices, finding);
    const context = toContext(post, reserveWait);
    const drafted = await draftAll(post, { context, slices });
    if (drafted === null) return { kind: 'invalid', rejected: tooLarge };
    const rejected = drafted.filter(({ errors }) => errors.length > 0).map(toRejected);
    if (strict && rejected.length > 0) {
      for (const { lane } of isAgain ? [] : drafted) count(metrics, lane, { invalid: 1 });
      return { kind: 'invalid', rejected };
    }
    const appended = await appendAll(post, drafted, { ...deps, facts, toE164, slices });
    if (appended.kind === 'backpressure') return appended;
    // Only now: a delivery that was refused comes again, and must not pass for a repeat.
    if (deliveryKey !== null)
      await store.putFacts([{ kind: 'delivery', key: deliveryKey, value: known }]);
    const { duplicates } = appended;
    if (!isAgain) deps.activity.add(post, toParts(post, drafted, appended));
    const waiting = drafted.filter(({ draft }) => draft.lane === 'waiting').length;
    const accepted = drafted.length - duplicates - waiting - rejected.length;
    const warnings = drafted.flatMap((each) =>
      each.warnings.map((warning) => ({ index: each.index, ...warning })),
    );
    return { kind: 'accepted', accepted, duplicates, waiting, rejected, warnings, repeat: false };
  };
  const accept: AcceptFromSource = async (post, options) => {
    if (waitingRoom === undefined || options.isReingest === true) {
      return acceptPost(post, options, undefined);
    }
    const reserved = { count: 0, bytes: 0 };
    const reserveWait = (bytes: number): boolean => {
      if (!waitingRoom.reserve(bytes)) return false;
      reserved.count++;
      reserved.bytes += bytes;
      return true;
    };
    try {
      return await acceptPost(post, options, reserveWait);
    } finally {
      waitingRoom.release(reserved);
    }
  };
  const withLedger = createLedgers(store);
  return async (post, options) => {
    if (post.ledger === undefined) return accept(post, options);
    // A topic that is off leaves no trace in the ledger: another topic may count what it names.
    const { ledger, skipped: before } = shape({ ...post, entries: [] });
    return withLedger({ ...post, ledger, skipped: before }, async (resolved) => {
      const accepted = await accept(resolved, options);
      if (accepted.kind !== 'accepted' || accepted.repeat) return accepted;
      const skipped = resolved.skipped.slice(post.skipped.length).map(({ reason }) => reason);
      return { ...accepted, skipped };
    });
  };
}

/** Facts are kept before the answer, too: a sender does not repeat a request that was accepted. */
async function appendAll(
  post: SourcePost,
  drafted: readonly DraftedSourceEntry[],
  { store, metrics, onFacts, facts, toE164, slices }: FromSourceDeps & Omit<PuttingFacts, 'store'>,
): Promise<AppendBackpressure | Appended> {
  const drafts = drafted.map(({ draft }) => draft);
  const [factsPut, appended] = await Promise.all([
    putAllFacts(post, { store, onFacts, facts, toE164, slices }),
    appendDrafts(drafts, { store, metrics }),
  ]);
  if (appended.kind === 'backpressure') return appended;
  for (const { lane, warnings } of drafted) {
    for (const { code } of warnings) countWarnings(metrics, lane, { warning: code, count: 1 });
  }
  return factsPut.ok ? appended : { kind: 'backpressure', ...factsPut.backpressure };
}

/** What became of each part of a request. */
function toParts(
  { entries, skipped }: SourcePost,
  drafted: readonly DraftedSourceEntry[],
  { envelopes }: Appended,
): readonly ActivityPart[] {
  const parts: ActivityPart[] = skipped.map((part) => ({ ...part, outcome: 'skipped' }));
  entries.forEach(({ kind, id }, at) => {
    const { draft, warnings } = drafted[at] ?? { draft: undefined, warnings: [] };
    const outcome = draft === undefined ? 'accepted' : toOutcome(draft);
    parts.push({
      kind,
      id,
      outcome: envelopes[at]?.duplicate === true ? 'duplicate' : outcome,
      reason: draft?.deadLetterReason?.code,
    });
    for (const { code } of warnings) parts.push({ kind, id, outcome: 'altered', reason: code });
  });
  return parts;
}

function toOutcome({ lane, deadLetterReason }: Draft): ActivityPart['outcome'] {
  if (deadLetterReason !== undefined) return 'dead_lettered';
  return lane === 'waiting' ? 'waiting' : 'accepted';
}

const nothingTaken = {
  kind: 'accepted',
  accepted: 0,
  duplicates: 0,
  waiting: 0,
  rejected: [],
  warnings: [],
} as const;

function toRejected({ index, draft, errors }: DraftedSourceEntry): Rejected {
  return { index, code: draft.deadLetterReason?.code ?? invalidEntry, errors };
}

const asItIs = (post: SourcePost): SourcePost => post;
const known = '1';

/** What stands beside a batch goes into each of its entries: a small request can come to gigabytes. */
const tooLarge: readonly Rejected[] = [
  {
    index: 0,
    code: invalidEntry,
    errors: [{ pointer: '', detail: `comes to more than ${limits.sourceBytes} bytes` }],
  },
];

/** Adds to each entry what is known of its person and its device. */
async function completeAll(
  post: SourcePost,
  devices: Devices,
  finding: Finding,
): Promise<{ readonly post: SourcePost; readonly facts: readonly Fact[] }> {
  const found = await findPeople(post, finding);
  const { complete, facts } = await devices.find(post, { ...finding, complete: found.complete });
  const entries: SourceEntry[] = [];
  for (const entry of post.entries) {
    if (finding.slices.isUsedUp()) await finding.slices.startNext();
    const completed = complete(entry);
    if (completed !== null) entries.push(completed);
  }
  return { post: { ...post, entries, people: found.people }, facts };
}

type Drafting = {
  readonly context: SourceEntryContext;
  readonly slices: Slices;
};

/** Null where it comes to more than the relay takes at once. */
async function draftAll(
  { source, entries }: SourcePost,
  { context, slices }: Drafting,
): Promise<readonly DraftedSourceEntry[] | null> {
  const drafted: DraftedSourceEntry[] = [];
  let bytes = 0;
  for (const entry of entries) {
    if (slices.isUsedUp()) await slices.startNext();
    const one = draftSourceEntry(source, entry, context);
    bytes += one.draft.payload.length;
    if (bytes > limits.sourceBytes) return null;
    drafted.push(one);
  }
  return drafted;
}

/** Entries that the mapping file changes in one go, and facts that are kept in one go. */
const perStep = 100;

/** Each entry is changed by itself, so that some neighbours at a time come to the same. */
async function shapeInSlices(
  post: SourcePost,
  shape: (post: SourcePost) => SourcePost,
  slices: Slices,
): Promise<SourcePost> {
  if (post.entries.length <= perStep || shape === asItIs) return shape(post);
  const entries: SourceEntry[] = [];
  const skipped = [...post.skipped];
  for (let from = 0; from < post.entries.length; from += perStep) {
    if (slices.isUsedUp()) await slices.startNext();
    const some = post.entries.slice(from, from + perStep);
    const shaped = shape({ ...post, entries: some, skipped: [] });
    entries.push(...shaped.entries);
    skipped.push(...shaped.skipped);
  }
  return { ...post, entries, skipped };
}

type PuttingFacts = {
  readonly store: Pick<FactStore, 'putFacts'>;
  readonly onFacts?: FromSourceDeps['onFacts'];
  /** About devices. */
  readonly facts: readonly Fact[];
  readonly toE164: ToE164;
  readonly slices: Slices;
};

async function putAllFacts(
  post: SourcePost,
  { store, onFacts, facts, toE164, slices }: PuttingFacts,
): ReturnType<FactStore['putFacts']> {
  for (let from = 0; from < facts.length; from += perStep) {
    if (slices.isUsedUp()) await slices.startNext();
    const factsPut = await store.putFacts(facts.slice(from, from + perStep));
    if (!factsPut.ok) return factsPut;
  }
  for (let from = 0; from < post.people.length; from += perStep) {
    if (slices.isUsedUp()) await slices.startNext();
    const some = post.people.slice(from, from + perStep);
    const ofPeople = toFacts({ ...post, people: some }, toE164);
    const factsPut = await store.putFacts(ofPeople);
    if (!factsPut.ok) return factsPut;
    onFacts?.(ofPeople.map(({ key }) => key));
  }
  return { ok: true };
}
