import { storeLanes, type StoreLane } from '../../model/lane.js';
import { payloadBytes } from '../claim-builder.js';
import { toFreshMarks, type Loaded } from './backlog.js';
import { cutIntoBlocks, encodeBlock } from './block.js';
import type { Numbered } from './dead-letters.js';
import type { Staged } from './group-commit.js';
import type { StageParts } from './stage-deps.js';
import { redrivenKind } from './tables.js';
import { laneNumbers, type Totals } from './totals.js';
import { put } from './write.js';

type Redriven = Loaded & { readonly lane: StoreLane };

/** Dead letters go back into the buffer, as if accepted now: an old one would be given up again at its first hiccup. */
export function stageRedrive(
  found: readonly Numbered[],
  draft: Totals,
  parts: StageParts,
): Staged<number> {
  const { tables, seen, letters, admission } = parts;
  const note = draft.nextSeen;
  const redriven = storeLanes.flatMap((lane) => toRedriven(lane, found, { draft, parts }));
  const entries = redriven.flatMap((one) => one.entries);
  const events = redriven.flatMap((one) => (one.lane === 'events' ? one.entries : []));
  const bytes = entries.reduce((sum, one) => sum + payloadBytes(one), 0);
  return {
    writes: [
      ...redriven.map(({ block, entries: own }) => {
        const [lane, kind, number] = block.key;
        return put(tables.blocks, [lane, kind, number], encodeBlock(own));
      }),
      ...letters.remove(found, draft),
      ...seen.remember(events, draft),
    ],
    committed() {
      admission.add(entries.length, bytes);
      const known = { at: parts.clock.monotonic(), note };
      for (const { seq, keys } of events) seen.window.remember(keys, seq, known);
      for (const one of redriven) parts.lanes[one.lane].takeRedriven(one);
      return found.length;
    },
  };
}

/** Dead letters go for good. */
export function stageDiscard(
  found: readonly Numbered[],
  draft: Totals,
  { letters }: StageParts,
): Staged<number> {
  return { writes: letters.remove(found, draft), committed: () => found.length };
}

/** A dry run. */
export function stageCount(found: readonly Numbered[]): Staged<number> {
  return { writes: [], committed: () => found.length };
}

function toRedriven(
  lane: StoreLane,
  found: readonly Numbered[],
  { draft, parts }: { readonly draft: Totals; readonly parts: StageParts },
): readonly Redriven[] {
  const acceptedAt = parts.clock.now();
  const entries = found
    .map(({ letter }) => letter)
    .filter((letter) => letter.lane === lane)
    .map(({ seq, keys, payload }) => ({ seq, acceptedAt, keys, payload }))
    .sort((a, b) => a.seq - b.seq);
  const totals = draft.lanes[lane];
  totals.count += entries.length;
  totals.accepted += entries.length;
  totals.bytes += entries.reduce((sum, one) => sum + payloadBytes(one), 0);
  return cutIntoBlocks(entries).map((own) => ({
    lane,
    block: {
      key: [laneNumbers[lane], redrivenKind, draft.nextRedriven++],
      isRedriven: true,
      marks: toFreshMarks(own.length),
    },
    entries: own,
  }));
}
