import type { Clock } from '../clock.js';
import { smallChars } from '../json/large.js';
import type { Metrics } from '../metrics.js';
import { isBesideLane, type Lane, type PostedLane } from '../model/lane.js';
import type { Issue } from '../model/outcome.js';
import { runInSlices } from '../slices.js';
import {
  appendDrafts,
  countInvalidEntries,
  countPhoneWarnings,
  type AppendBackpressure,
  type AppendDeps,
} from './append.js';
import { draftEntry, fixTerms, type TermsDeps } from './draft.js';
import { createDraftMany, type BuiltBatch, type DraftMany } from './draft-many.js';
import { readLongOne, readOne } from './entries.js';
import { createToE164 } from './phone.js';
import type { Threads } from './threads.js';

/**
 * The accept pipeline. Everything that the relay accepts goes through the same steps:
 *
 *     read entries → draft (validate, map, serialise) → append → respond
 *
 * 1. Read: entries.ts parses a body into entries. A source's map (sources/) makes entries of the
 *    source's own format, and accept-from-source.ts completes them with facts of earlier requests.
 * 2. Draft: `draftEntry` (draft.ts) turns one entry into the bytes that are stored. Large requests are
 *    drafted in threads (threads.ts).
 * 3. Append: `appendDrafts` (append.ts) stores all drafts of a request or none, and counts them. Once it
 *    resolves, the envelopes are as safe as the store promises, and the caller gets its 202.
 *
 * This file accepts what callers of /v1/events and /v1/profiles post; an invalid entry is rejected with
 * its issues. accept-from-source.ts accepts what sources send, and what is ingested again: an entry that
 * waited for a person (waiting.ts), and a redriven dead letter that was never sent (reingest.ts). There,
 * an invalid entry becomes a dead letter, because no sender reads the response.
 *
 * Results are values: `accepted`, `invalid` or `backpressure`. A promise rejects only if the store or the
 * relay itself fails. Nothing here depends on HTTP.
 */

/** The result for one event or profile. */
export type AcceptedOne =
  | {
      readonly kind: 'accepted';
      readonly id: string;
      /** The ids of the envelopes beside that of the entry: one for each list that a profile joins. */
      readonly listIds: readonly string[];
      /** The same for each list that it leaves. */
      readonly removalIds: readonly string[];
      readonly duplicate: boolean;
      readonly warnings: readonly Issue[];
    }
  | { readonly kind: 'invalid'; readonly errors: readonly Issue[] }
  | AppendBackpressure;

/** An invalid entry of a request for many. `index` counts from 0 within the request. */
type RejectedEntry = { readonly index: number; readonly errors: readonly Issue[] };

/** The result for many events or profiles. */
export type AcceptedMany =
  | {
      readonly kind: 'accepted';
      /** Entries that were stored now, duplicates not included. */
      readonly accepted: number;
      readonly duplicates: number;
      /** One for each accepted or duplicate entry, in request order. */
      readonly ids: readonly string[];
      /** Entries that were rejected; `rejected` lists the first of them. */
      readonly rejectedCount: number;
      readonly rejected: readonly RejectedEntry[];
      /** Entries with warnings; `warnings` lists the first of them. */
      readonly warningCount: number;
      readonly warnings: readonly { readonly index: number; readonly warnings: readonly Issue[] }[];
    }
  /**
   * Nothing was accepted: no entry is valid, or one is not and the request is strict, or the body is no
   * list of entries. The pointer of an entry's issue starts with `/{index}`.
   */
  | {
      readonly kind: 'invalid';
      readonly errors: readonly Issue[];
      readonly rejectedCount: number;
      readonly rejected: readonly RejectedEntry[];
    }
  | AppendBackpressure;

/** Events only. True or false: all events are backfilled, or none is. Absent: `backfillAfterMs` decides. */
type BackfillOption = { readonly backfill?: boolean | undefined };
export type OneOptions = BackfillOption & { readonly idempotencyKey?: string | undefined };
export type ManyOptions = BackfillOption & {
  readonly format: 'json' | 'ndjson';
  /** True: one invalid entry rejects the whole request. */
  readonly strict: boolean;
};

/** Bodies are decompressed: of one entry as text, of many as UTF-8. */
export type Accept = {
  one(lane: PostedLane, body: string, options: OneOptions): Promise<AcceptedOne>;
  many(lane: PostedLane, body: Buffer, options: ManyOptions): Promise<AcceptedMany>;
};

export type AcceptDeps = TermsDeps & {
  readonly store: AppendDeps['store'];
  readonly clock: Pick<Clock, 'now' | 'monotonic'>;
  readonly metrics: AppendDeps['metrics'] & Pick<Metrics, 'ingestWarnings'>;
  /** Returns the unique_id of an event that was posted without one: 1 to 255 characters, never the same twice. */
  readonly newId: () => string;
  /** ISO 3166 country of phone numbers without a + prefix. */
  readonly defaultCountry?: string | undefined;
  /** Drafts large requests for many in threads. Absent: the main thread drafts them. */
  readonly draftMany?: Threads['draftMany'] | undefined;
};

export function createAccept(deps: AcceptDeps): Accept {
  const { clock, metrics, newId } = deps;
  const toE164 = createToE164(deps.defaultCountry);
  const draftInMainThread = createDraftMany({ clock, newId, toE164 });
  const draftMany: DraftMany = (posted) =>
    deps.draftMany?.(posted, draftInMainThread) ?? draftInMainThread(posted);

  return {
    async one(lane, body, { idempotencyKey, backfill }) {
      const terms = fixTerms(deps, { backfill });
      const context = { ...terms, newId, toE164, idempotencyKey, nullClears: true };
      const entry =
        body.length > smallChars
          ? await runInSlices(readLongOne(lane, body), clock)
          : readOne(body);
      const drafted = draftEntry(lane, entry, context);
      if (!drafted.ok) {
        countInvalidEntries(metrics, lane, 1);
        return { kind: 'invalid', errors: drafted.errors };
      }
      const appended = await appendDrafts([drafted.draft, ...(drafted.beside ?? [])], deps);
      if (appended.kind === 'backpressure') return appended;
      const [envelope, ...besides] = appended.envelopes;
      if (envelope === undefined) throw new Error('the store returned no envelope');
      const { warnings } = drafted;
      countPhoneWarnings(metrics, lane, warnings.length);
      const { id, duplicate } = envelope;
      const idsOf = (besideLane: Lane): readonly string[] =>
        besides.flatMap((each, at) => (drafted.beside?.[at]?.lane === besideLane ? [each.id] : []));
      const listIds = idsOf('add_to_list');
      const removalIds = idsOf('remove_from_list');
      return { kind: 'accepted', id, listIds, removalIds, duplicate, warnings };
    },

    async many(lane, body, { format, strict, backfill }) {
      const drafted = await draftMany({ lane, body, format, ...fixTerms(deps, { backfill }) });
      if (!drafted.ok) {
        countInvalidEntries(metrics, lane, 1);
        return { kind: 'invalid', errors: drafted.errors, rejected: [], rejectedCount: 0 };
      }
      const { drafts, rejected, rejectedCount, warnings, warningCount } = drafted.built;
      if (drafts.length === 0 || (strict && rejectedCount > 0)) {
        countInvalidEntries(metrics, lane, drafted.count);
        return { kind: 'invalid', errors: listErrors(drafted.built), rejected, rejectedCount };
      }
      const appended = await appendDrafts(drafts, deps);
      countInvalidEntries(metrics, lane, rejectedCount);
      if (appended.kind === 'backpressure') return appended;
      countPhoneWarnings(metrics, lane, warningCount);
      const { duplicates } = appended;
      const ids = appended.envelopes.flatMap(({ id }, at) =>
        isBesideLane(drafts[at]?.lane ?? lane) ? [] : [id],
      );
      const accepted = ids.length - duplicates;
      const listed = { rejected, rejectedCount, warnings, warningCount };
      return { kind: 'accepted', accepted, duplicates, ids, ...listed };
    },
  };
}

/** The errors of all rejected entries in one list, each pointer with the index of its entry in front. */
function listErrors({ rejected, rejectedCount }: BuiltBatch): readonly Issue[] {
  const errors = rejected.flatMap(({ index, errors: own }) =>
    own.map(({ pointer, detail }) => ({ pointer: `/${index}${pointer}`, detail })),
  );
  const unlisted = rejectedCount - rejected.length;
  if (unlisted === 0) return errors;
  return [...errors, { pointer: '', detail: `holds ${unlisted} more entries that are not valid` }];
}
