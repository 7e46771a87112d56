import type { Lane } from '../envelope.js';
import { Collector, entriesPerTurn, turn, type Collected } from './collect.js';
import type { DraftContext } from './draft.js';
import { readJson, readNdjson } from './entries.js';
import { refuse, type Invalid } from './faults.js';
import { limits } from './limits.js';

/** A request for many: its whole text, in UTF-8, and when it came. */
export type ManyPosted = {
  readonly lane: Lane;
  readonly body: Buffer;
  readonly format: 'json' | 'ndjson';
  /** Epoch ms. */
  readonly acceptedAt: number;
};

/** Not ok: the body is no list of entries at all. `count`: entries in it. */
export type DraftedMany =
  Invalid | { readonly ok: true; readonly count: number; readonly collected: Collected };

/** Reads, validates, maps and serialises all of a request. */
export type DraftMany = (posted: ManyPosted) => Promise<DraftedMany>;

/**
 * One request after the other, in the order they came: each of two in turns would take as long as
 * both, and keep its half in memory meanwhile.
 */
export function createDraftMany(context: Pick<DraftContext, 'newId' | 'toE164'>): DraftMany {
  let last: Promise<unknown> = Promise.resolve();
  return (posted) => {
    const drafted = last.then(() => draftAll(posted, context));
    last = drafted.catch(() => undefined);
    return drafted;
  };
}

async function draftAll(
  { lane, body, format, acceptedAt }: ManyPosted,
  context: Pick<DraftContext, 'newId' | 'toE164'>,
): Promise<DraftedMany> {
  const collector = new Collector(lane, { ...context, acceptedAt });
  for (const part of format === 'json' ? readJson(lane, body) : readNdjson(body)) {
    if (!part.ok) return part;
    for (const entry of part.entries) {
      if (collector.count === limits.entriesPerRequest) return tooMany;
      if (collector.count > 0 && collector.count % entriesPerTurn === 0) await turn();
      collector.add(entry);
    }
  }
  const { count, collected } = collector;
  return count === 0 ? nothing : { ok: true, count, collected };
}

const nothing = refuse('', 'holds nothing to accept');
const tooMany = refuse('', `holds more than ${limits.entriesPerRequest} entries`);
