import type { Draft } from '../model/envelope.js';
import type { Fact } from '../model/fact.js';
import type { Issue } from '../model/outcome.js';
import type { PutFactsResult } from '../model/store.js';
import { Slices } from '../slices.js';
import type { AcceptDeps } from './accept.js';
import {
  appendDrafts,
  countInvalidEntries,
  type AppendBackpressure,
  type AppendDeps,
  type Appended,
} from './append.js';
import { keepNewDecisions } from './decisions.js';
import { Devices } from './devices.js';
import { fixTerms } from './draft.js';
import {
  draftSourceEntry,
  invalidEntry,
  type DraftedSourceEntry,
  type SourceEntryContext,
} from './draft-source-entry.js';
import { toFactKey, type FactStore } from './facts.js';
import { createLedgers } from './ledger.js';
import { limits } from './limits.js';
import { findPeople, toPersonFacts, type LookupDeps } from './people.js';
import { createToE164, type ToE164 } from './phone.js';
import type { ActivityPart } from './source-activity.js';
import type { SourceEntry, SourcePost, SourceWarning } from './source-entry.js';

/**
 * Accepts what a source's map makes of one request, and what is ingested again. The pipeline is that of
 * accept.ts, with these steps around it:
 *
 * 1. The ledger of the post adds entries that depend on earlier requests (ledger.ts).
 * 2. The mapping file changes the entries.
 * 3. A delivery whose id is among the facts was accepted before: nothing is done.
 * 4. Facts complete the entries: people (people.ts) and devices (devices.ts).
 * 5. Each entry is drafted (draft-source-entry.ts). One that cannot be mapped waits or becomes a dead letter.
 * 6. Repeated states of a consent are left out (decisions.ts).
 * 7. Drafts and facts are stored. Only then the id of the delivery and the states become facts: after
 *    backpressure the sender repeats the request, which must not look like a repeat of an accepted one.
 *
 * Large posts are handled in slices of the event loop. What is ingested again skips steps 2 and 3, does not
 * wait again, and is not counted as activity.
 */

export type AcceptedFromSource =
  | {
      readonly kind: 'accepted';
      readonly accepted: number;
      readonly duplicates: number;
      /** Entries that wait until another request names their person. */
      readonly waiting: number;
      /** Entries that are not valid. They are dead letters now. */
      readonly rejected: readonly Rejected[];
      /** Parts that could not be read or were altered. `index`: that of the entry. */
      readonly warnings: readonly (SourceWarning & { readonly index: number })[];
      /** Reasons of the parts that were skipped after the map. */
      readonly skipped?: readonly string[];
      /** True if the same delivery was accepted before: nothing was done. */
      readonly repeat: boolean;
    }
  /** An entry is not valid and the request is strict, or the request is too large. Nothing was accepted. */
  | { readonly kind: 'invalid'; readonly rejected: readonly Rejected[] }
  | AppendBackpressure;

export type Rejected = {
  readonly index: number;
  /** Reason code of the dead letter. */
  readonly code: string;
  readonly errors: readonly Issue[];
};

export type FromSourceOptions = {
  /** True: one invalid entry rejects the whole request. False: invalid entries become dead letters. */
  readonly strict: boolean;
  /** True: the entries were accepted before, and are ingested again. */
  readonly isReingest?: boolean;
};

export type AcceptFromSource = (
  post: SourcePost,
  options: FromSourceOptions,
) => Promise<AcceptedFromSource>;

export type FromSourceDeps = Omit<AcceptDeps, 'store' | 'draftMany'> & {
  readonly store: FactStore & AppendDeps['store'];
  /** Counts the parts of each request, for GET /v1/sources and the metrics. */
  readonly activity: { add(post: SourcePost, parts: readonly ActivityPart[]): void };
  /** Bounds of the entries that wait. Absent: no entry waits; one without a known person becomes a dead letter. */
  readonly waitingBounds?:
    | {
        reserve(bytes: number): boolean;
        release(amount: { readonly count: number; readonly bytes: number }): void;
      }
    | undefined;
  /** Absent: the pipeline has its own. */
  readonly devices?: Devices;
  /** Called with the keys of facts about people once these are stored. */
  readonly onFacts?: ((keys: readonly string[]) => void) | undefined;
  /** Applies the mapping file to a post. Absent: nothing changes. */
  readonly applyMapping?: ((post: SourcePost) => SourcePost) | undefined;
};

export function createAcceptFromSource(deps: FromSourceDeps): AcceptFromSource {
  const { store, metrics, clock, newId, waitingBounds, activity } = deps;
  const { devices = new Devices(clock), applyMapping = keepPost } = deps;
  const toE164 = createToE164(deps.defaultCountry);
  const withLedger = createLedgers(store);

  const acceptPost = async (
    posted: SourcePost,
    { strict, isReingest = false }: FromSourceOptions,
    reserveWaiting: SourceEntryContext['reserveWaiting'],
  ): Promise<AcceptedFromSource> => {
    const slices = new Slices(clock);
    const mapped = isReingest ? posted : await applyInSlices(posted, applyMapping, slices);
    const { source, delivery } = mapped;
    const deliveryKey = delivery === undefined ? null : toFactKey(source, 'delivery', delivery);
    if (deliveryKey !== null && (await store.getFacts([deliveryKey]))[0] === acceptedValue) {
      activity.add(mapped, [{ outcome: 'skipped', reason: 'repeat' }]);
      return { ...nothingAccepted, repeat: true };
    }
    const { post: completed, deviceFacts } = await completeEntries(mapped, devices, {
      getFacts: (keys) => store.getFacts(keys),
      toE164,
      slices,
    });
    const terms = fixTerms(deps, { firstAcceptedAt: completed.firstAcceptedAt });
    const context = { ...terms, newId, toE164, reserveWaiting };
    const draftedAll = await draftEntries(completed, context, slices);
    if (draftedAll === null) return { kind: 'invalid', rejected: tooLarge };
    const { post, drafted, facts } = await keepNewDecisions(completed, draftedAll, (keys) =>
      store.getFacts(keys),
    );
    const rejected = listRejected(drafted);
    if (strict && rejected.length > 0) {
      for (const { lane } of isReingest ? [] : drafted) countInvalidEntries(metrics, lane, 1);
      return { kind: 'invalid', rejected };
    }
    const stored = { store, metrics, onFacts: deps.onFacts, deviceFacts, toE164, slices };
    const appended = await appendWithFacts(post, drafted, stored);
    if (appended.kind === 'backpressure') return appended;
    await putAfterwards(store, [...facts, ...toDeliveryFacts(deliveryKey)]);
    if (!isReingest) activity.add(post, listActivity(post, drafted, appended));
    const skipped = post.skipped.slice(posted.skipped.length).map(({ reason }) => reason);
    return {
      ...toAccepted(drafted, rejected, appended.duplicates),
      ...(skipped.length > 0 && { skipped }),
    };
  };

  /** Holds the capacity of entries that wait until they are in the store or the request has failed. */
  const acceptWithinBounds: AcceptFromSource = async (post, options) => {
    if (waitingBounds === undefined || options.isReingest === true) {
      return acceptPost(post, options, undefined);
    }
    const reserved = { count: 0, bytes: 0 };
    try {
      return await acceptPost(post, options, (bytes) => {
        if (!waitingBounds.reserve(bytes)) return false;
        reserved.count++;
        reserved.bytes += bytes;
        return true;
      });
    } finally {
      waitingBounds.release(reserved);
    }
  };

  return async (post, options) => {
    if (post.ledger === undefined) return acceptWithinBounds(post, options);
    // A topic that the mapping file turns off must not change the ledger: another topic may use it.
    const { ledger, skipped: before } = applyMapping({ ...post, entries: [] });
    return withLedger({ ...post, ledger, skipped: before }, async (resolved) => {
      const accepted = await acceptWithinBounds(resolved, options);
      if (accepted.kind !== 'accepted' || accepted.repeat) return accepted;
      const skipped = resolved.skipped.slice(post.skipped.length).map(({ reason }) => reason);
      return { ...accepted, skipped: [...skipped, ...(accepted.skipped ?? [])] };
    });
  };
}

function listRejected(drafted: readonly DraftedSourceEntry[]): readonly Rejected[] {
  return drafted
    .filter(({ errors }) => errors.length > 0)
    .map(({ index, draft, errors }) => ({
      index,
      code: draft.deadLetterReason?.code ?? invalidEntry,
      errors,
    }));
}

function toAccepted(
  drafted: readonly DraftedSourceEntry[],
  rejected: readonly Rejected[],
  duplicates: number,
): AcceptedFromSource {
  const waiting = drafted.filter(({ draft }) => draft.lane === 'waiting').length;
  const accepted = drafted.length - duplicates - waiting - rejected.length;
  const warnings = drafted.flatMap((each) =>
    each.warnings.map((warning) => ({ index: each.index, ...warning })),
  );
  return { kind: 'accepted', accepted, duplicates, waiting, rejected, warnings, repeat: false };
}

const toDeliveryFacts = (key: string | null): readonly Fact[] =>
  key === null ? [] : [{ kind: 'delivery', key, value: acceptedValue }];

/** Stores what is true only once the drafts are stored. If it is not stored, the sender's repeat is accepted again. */
async function putAfterwards(
  store: Pick<FactStore, 'putFacts'>,
  facts: readonly Fact[],
): Promise<void> {
  if (facts.length > 0) await store.putFacts(facts);
}

const keepPost = (post: SourcePost): SourcePost => post;

/** Value of the fact of an accepted delivery. */
const acceptedValue = '1';

const nothingAccepted = {
  kind: 'accepted',
  accepted: 0,
  duplicates: 0,
  waiting: 0,
  rejected: [],
  warnings: [],
} as const;

/** Members beside a batch are copied into each of its entries, so that a small request can become gigabytes. */
const tooLarge: readonly Rejected[] = [
  {
    index: 0,
    code: invalidEntry,
    errors: [{ pointer: '', detail: `comes to more than ${limits.sourceBytes} bytes` }],
  },
];

/** Entries that the mapping file changes in one step, and facts that are stored in one step. */
const perStep = 100;

/** Applies the mapping file. It changes each entry by itself, so a long list can be changed in parts. */
async function applyInSlices(
  post: SourcePost,
  applyMapping: (post: SourcePost) => SourcePost,
  slices: Slices,
): Promise<SourcePost> {
  if (post.entries.length <= perStep || applyMapping === keepPost) return applyMapping(post);
  const entries: SourceEntry[] = [];
  const skipped = [...post.skipped];
  let { people } = post;
  for (let from = 0; from < post.entries.length; from += perStep) {
    if (slices.isUsedUp()) await slices.startNext();
    const some = post.entries.slice(from, from + perStep);
    const mapped = applyMapping({ ...post, entries: some, skipped: [] });
    entries.push(...mapped.entries);
    skipped.push(...mapped.skipped);
    people = mapped.people;
  }
  return { ...post, entries, skipped, people };
}

/** Adds to each entry what is known about its person and its device. */
async function completeEntries(
  post: SourcePost,
  devices: Devices,
  lookup: LookupDeps,
): Promise<{ readonly post: SourcePost; readonly deviceFacts: readonly Fact[] }> {
  const { slices } = lookup;
  const found = await findPeople(post, lookup);
  const { complete, facts } = await devices.find(post, { ...lookup, complete: found.complete });
  const entries: SourceEntry[] = [];
  for (const entry of post.entries) {
    if (slices.isUsedUp()) await slices.startNext();
    const completed = complete(entry);
    if (completed !== null) entries.push(completed);
  }
  return { post: { ...post, entries, people: found.people }, deviceFacts: facts };
}

/** Returns null if the drafts exceed the bytes of one request. */
async function draftEntries(
  { source, entries }: SourcePost,
  context: SourceEntryContext,
  slices: Slices,
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

/** A sender does not repeat an accepted request, so the facts must be stored before the response, too. */
async function appendWithFacts(
  post: SourcePost,
  drafted: readonly DraftedSourceEntry[],
  deps: PutFactsDeps & Pick<FromSourceDeps, 'store' | 'metrics'>,
): Promise<Appended | AppendBackpressure> {
  const [factsPut, appended] = await Promise.all([
    putFactsOf(post, deps),
    appendDrafts(
      // Those beside an entry come last, so that an entry has the place of its envelope.
      [...drafted.map(({ draft }) => draft), ...drafted.flatMap(({ beside }) => beside)],
      deps,
    ),
  ]);
  if (appended.kind === 'backpressure') return appended;
  for (const { lane, warnings } of drafted) {
    for (const { code } of warnings) deps.metrics.ingestWarnings.inc({ lane, warning: code });
  }
  return factsPut.ok ? appended : { kind: 'backpressure', ...factsPut.backpressure };
}

type PutFactsDeps = {
  readonly store: Pick<FactStore, 'putFacts'>;
  readonly onFacts: FromSourceDeps['onFacts'];
  readonly deviceFacts: readonly Fact[];
  readonly toE164: ToE164;
  readonly slices: Slices;
};

/** Stores the facts of a post: its devices and the people it names. */
async function putFactsOf(
  post: SourcePost,
  { store, onFacts, deviceFacts, toE164, slices }: PutFactsDeps,
): Promise<PutFactsResult> {
  for (let from = 0; from < deviceFacts.length; from += perStep) {
    if (slices.isUsedUp()) await slices.startNext();
    const put = await store.putFacts(deviceFacts.slice(from, from + perStep));
    if (!put.ok) return put;
  }
  for (let from = 0; from < post.people.length; from += perStep) {
    if (slices.isUsedUp()) await slices.startNext();
    const people = post.people.slice(from, from + perStep);
    const facts = toPersonFacts({ ...post, people }, toE164);
    const put = await store.putFacts(facts);
    if (!put.ok) return put;
    onFacts?.(facts.map(({ key }) => key));
  }
  return { ok: true };
}

/** Lists the outcome of each part of a request. */
function listActivity(
  { entries, skipped }: SourcePost,
  drafted: readonly DraftedSourceEntry[],
  { envelopes }: Appended,
): readonly ActivityPart[] {
  const parts: ActivityPart[] = skipped.map((part) => ({ ...part, outcome: 'skipped' }));
  entries.forEach(({ kind, id }, at) => {
    const { draft, warnings } = drafted[at] ?? { draft: undefined, warnings: [] };
    const outcome = draft === undefined ? 'accepted' : toActivityOutcome(draft);
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

function toActivityOutcome({ lane, deadLetterReason }: Draft): ActivityPart['outcome'] {
  if (deadLetterReason !== undefined) return 'dead_lettered';
  return lane === 'waiting' ? 'waiting' : 'accepted';
}
