import type { Clock } from '../clock.js';
import type { Lane } from '../model/lane.js';
import { Slices } from '../slices.js';
import { BatchBuilder, type BuiltBatch } from './batch-builder.js';
import type { DraftContext, EventRules } from './draft.js';
import { readJson, readNdjson } from './entries.js';
import { invalidBody, type Invalid } from './validation-issues.js';
import { limits } from './limits.js';

/** A request for many: its whole text, in UTF-8, and when it came. */
export type ManyPosted = {
  readonly lane: Lane;
  readonly body: Buffer;
  readonly format: 'json' | 'ndjson';
  /** Epoch ms. */
  readonly acceptedAt: number;
  readonly rules: EventRules;
  /** Epoch ms, as in DraftContext. */
  readonly backfillBefore: number;
};

/** Not ok: the body is no list of entries at all. `count`: entries in it. */
export type DraftedMany =
  Invalid | { readonly ok: true; readonly count: number; readonly collected: BuiltBatch };

/** Reads, validates, maps and serialises all of a request. */
export type DraftMany = (posted: ManyPosted) => Promise<DraftedMany>;

type DraftManyContext = Pick<DraftContext, 'newId' | 'toE164'> & {
  readonly clock: Pick<Clock, 'monotonic'>;
};

/**
 * One request after the other, in the order they came: each of two in turns would take as long as
 * both, and keep its half in memory meanwhile.
 */
export function createDraftMany(context: DraftManyContext): DraftMany {
  let last: Promise<unknown> = Promise.resolve();
  return (posted) => {
    const drafted = last.then(() => draftAll(posted, context));
    last = drafted.catch(() => undefined);
    return drafted;
  };
}

async function draftAll(
  { lane, body, format, ...others }: ManyPosted,
  context: DraftManyContext,
): Promise<DraftedMany> {
  const slices = new Slices(context.clock);
  const collector = new BatchBuilder(lane, { ...context, ...others });
  for (const part of format === 'json' ? readJson(lane, body) : readNdjson(lane, body)) {
    if (part === undefined) {
      if (slices.isUsedUp()) await slices.startNext();
      continue;
    }
    if (!part.ok) return part;
    for (const entry of part.entries) {
      if (collector.count === limits.entriesPerRequest) return tooMany;
      if (collector.collected.rejectedCount > limits.invalidPerRequest) return tooManyInvalid;
      if (slices.isUsedUp()) await slices.startNext();
      collector.add(entry);
    }
  }
  const { count, collected } = collector;
  return count === 0 ? nothing : { ok: true, count, collected };
}

const nothing = invalidBody('', 'holds nothing to accept');
const tooMany = invalidBody('', `holds more than ${limits.entriesPerRequest} entries`);
const tooManyInvalid = invalidBody(
  '',
  `holds more than ${limits.invalidPerRequest} entries that are not valid`,
);
