import type { Clock } from '../clock.js';
import type { Issue } from '../model/outcome.js';
import type { Lane } from '../model/lane.js';
import type { Metrics } from '../metrics.js';
import type { Store } from '../model/store.js';
import { appendDrafts, type AppendBackpressure } from './append.js';
import { draftEntry, type BuiltBatch } from './batch-builder.js';
import { count, countWarnings } from './counts.js';
import { toBackfillBefore, type EventRules } from './draft.js';
import { createDraftMany, type DraftMany } from './draft-many.js';
import { readLongOne, readOne } from './entries.js';
import { smallChars } from '../json/large.js';
import { runInSlices } from '../slices.js';
import { createToE164 } from './phone.js';
import type { Threads } from './threads.js';

/** What became of one event or profile at the door. */
export type AcceptedOne =
  | {
      readonly kind: 'accepted';
      readonly id: string;
      readonly duplicate: boolean;
      readonly warnings: readonly Issue[];
    }
  | { readonly kind: 'invalid'; readonly errors: readonly Issue[] }
  | AppendBackpressure;

/** What became of many. `rejected` and `warnings` carry the index within the request, from 0. */
export type AcceptedMany =
  | {
      readonly kind: 'accepted';
      readonly accepted: number;
      readonly duplicates: number;
      /** One per taken entry, in request order. */
      readonly ids: readonly string[];
      /** Entries that were rejected; `rejected` lists the first ones. */
      readonly rejectedCount: number;
      readonly warningCount: number;
      readonly rejected: readonly { readonly index: number; readonly errors: readonly Issue[] }[];
      readonly warnings: readonly { readonly index: number; readonly warnings: readonly Issue[] }[];
    }
  /** Nothing was taken: none was valid, `strict` found one that was not, or the body is not JSON. Pointers start with `/{index}` where an entry is at fault. */
  | {
      readonly kind: 'invalid';
      readonly errors: readonly Issue[];
      readonly rejectedCount: number;
      readonly rejected: readonly { readonly index: number; readonly errors: readonly Issue[] }[];
    }
  | AppendBackpressure;

/** Of events alone: whether all of them are backfilled, whatever their age. Absent: `backfillAfterMs` decides. */
type BackfillOption = { readonly backfill?: boolean | undefined };
export type OneOptions = BackfillOption & { readonly idempotencyKey?: string | undefined };
export type ManyOptions = BackfillOption & {
  readonly format: 'json' | 'ndjson';
  readonly strict: boolean;
};

/** The accept half: validate, map, append. Bodies are the raw request text, decompressed; of many, its UTF-8. */
export type Accept = {
  one(lane: Lane, body: string, options: OneOptions): Promise<AcceptedOne>;
  many(lane: Lane, body: Buffer, options: ManyOptions): Promise<AcceptedMany>;
};

export type AcceptDeps = {
  readonly store: { readonly append: Store['append'] };
  readonly clock: Pick<Clock, 'now' | 'monotonic'>;
  readonly metrics: Pick<Metrics, 'ingest' | 'ingestBackfilled' | 'ingestWarnings' | 'settled'>;
  /** A unique_id for an event that came without one: 1 to 255 characters, never the same twice. */
  readonly newId: () => string;
  /** ISO 3166 country of phone numbers without a + prefix. */
  readonly defaultCountry?: string | undefined;
  /** Of the revision in use, which may change while the relay runs. */
  readonly eventRules: () => EventRules;
  /** Age at acceptance beyond which an event is backfilled; Infinity: none is. */
  readonly backfillAfterMs: number;
  /** Drafts the requests for many elsewhere, or `here`. Absent: here. */
  readonly draftMany?: Threads['draftMany'] | undefined;
};

/** Rejects only for our own faults, the store's among them. */
export function createAccept(deps: AcceptDeps): Accept {
  const { clock, metrics, newId } = deps;
  const toE164 = createToE164(deps.defaultCountry);
  /** What holds for all entries of a request. */
  const toTerms = (backfill: boolean | undefined) => {
    const acceptedAt = clock.now();
    const afterMs = deps.backfillAfterMs;
    const backfillBefore = toBackfillBefore({ backfill, acceptedAt, afterMs });
    return { acceptedAt, backfillBefore, rules: deps.eventRules() };
  };
  const here = createDraftMany({ clock, newId, toE164 });
  const draftMany: DraftMany = (posted) => deps.draftMany?.(posted, here) ?? here(posted);

  return {
    async one(lane, body, { idempotencyKey, backfill }) {
      const context = { ...toTerms(backfill), newId, toE164, idempotencyKey };
      const entry =
        body.length > smallChars
          ? await runInSlices(readLongOne(lane, body), clock)
          : readOne(body);
      const drafted = draftEntry(lane, entry, context);
      if (!drafted.ok) {
        count(metrics, lane, { invalid: 1 });
        return { kind: 'invalid', errors: drafted.errors };
      }
      const appended = await appendDrafts([drafted.draft], deps);
      if (appended.kind === 'backpressure') return appended;
      const [envelope] = appended.envelopes;
      if (envelope === undefined) throw new Error('the store answered for no draft');
      const { warnings } = drafted;
      countWarnings(metrics, lane, { count: warnings.length });
      return { kind: 'accepted', id: envelope.id, duplicate: envelope.duplicate, warnings };
    },

    async many(lane, body, { format, strict, backfill }) {
      const drafted = await draftMany({ lane, body, format, ...toTerms(backfill) });
      if (!drafted.ok) {
        count(metrics, lane, { invalid: 1 });
        return { kind: 'invalid', errors: drafted.errors, rejected: [], rejectedCount: 0 };
      }
      const { collected } = drafted;
      const { drafts, rejected, rejectedCount } = collected;
      if (drafts.length === 0 || (strict && rejectedCount > 0)) {
        count(metrics, lane, { invalid: drafted.count });
        return { kind: 'invalid', errors: toErrors(collected), rejected, rejectedCount };
      }
      return appendMany(deps, lane, collected);
    },
  };
}

async function appendMany(
  deps: AcceptDeps,
  lane: Lane,
  collected: BuiltBatch,
): Promise<AcceptedMany> {
  const { drafts, rejected, warnings, rejectedCount, warningCount } = collected;
  const { metrics } = deps;
  const appended = await appendDrafts(drafts, deps);
  count(metrics, lane, { invalid: rejectedCount });
  if (appended.kind === 'backpressure') return appended;
  const { duplicates } = appended;
  const ids = appended.envelopes.map(({ id }) => id);
  const accepted = ids.length - duplicates;
  countWarnings(metrics, lane, { count: warningCount });
  const listed = { rejected, rejectedCount, warnings, warningCount };
  return { kind: 'accepted', accepted, duplicates, ids, ...listed };
}

/** The same errors as `rejected` in one list, each pointer starting with its entry's index. */
function toErrors({ rejected, rejectedCount }: BuiltBatch): readonly Issue[] {
  const errors = rejected.flatMap(({ index, errors: own }) =>
    own.map(({ pointer, detail }) => ({ pointer: `/${index}${pointer}`, detail })),
  );
  const unlisted = rejectedCount - rejected.length;
  if (unlisted === 0) return errors;
  return [...errors, { pointer: '', detail: `holds ${unlisted} more entries that are not valid` }];
}
