import { storeLanes, type StoreLane } from '../../model/lane.js';
import type { Draft } from '../../model/envelope.js';
import type { Reason } from '../../model/outcome.js';
import { forEachInSlices, Slices } from '../../slices.js';
import { toId } from '../ids.js';
import { mapStoreLanes } from '../../model/lane.js';
import { payloadBytes } from '../claim-builder.js';
import type { AppendedEnvelope } from '../../model/store.js';
import { toFreshMarks, type Loaded } from './backlog.js';
import { cutIntoBlocks, encodeBlock, type Entry } from './block.js';
import type { StagedInSlices } from './group-commit.js';
import type { JournalDeadLetter } from './dead-letter-codec.js';
import type { StageParts, StageDeps } from './stage-deps.js';
import { freshKind } from './tables.js';
import { laneNumbers, type Totals } from './totals.js';
import { put, type Write } from './write.js';

/**
 * What a group of appends adds: a few blocks a lane, dead letters, and the keys that are known from now
 * on. In slices: the group is alone with the state that it changes, and a claim meanwhile finds what is
 * in memory by then, which are the oldest.
 */
export async function stageAppends(
  appends: readonly (readonly Draft[])[],
  draft: Totals,
  deps: StageDeps,
): Promise<StagedInSlices<readonly (readonly AppendedEnvelope[])[]>> {
  const { seen, admission, letters, onDeadLetterDropped, clock } = deps;
  const numbering = new Numbering(draft, deps);
  const slices = new Slices(clock);
  const taken: AppendedEnvelope[][] = [];
  for (const drafts of appends) {
    const numbered: AppendedEnvelope[] = [];
    for (const one of drafts) {
      if (slices.isUsedUp()) await slices.startNext();
      numbered.push(numbering.take(one));
    }
    taken.push(numbered);
  }
  const { fresh, buried, roomless } = numbering;
  const placed = mapStoreLanes((lane) => place(lane, fresh[lane]));
  const all = storeLanes.flatMap((lane) => placed[lane]);
  const writes: Write[] = [];
  await forEachInSlices(all, clock, (each) => writes.push(toWrite(each, deps)));
  const plan = letters.add(buried, draft);
  writes.push(...plan.writes);
  await forEachInSlices(cutIntoGroups(fresh.events), clock, (events) =>
    writes.push(...seen.remember(events, draft)),
  );
  return {
    writes,
    async committed() {
      for (const lane of storeLanes) {
        await forEachInSlices(placed[lane], clock, (each) => deps.lanes[lane].take(each));
      }
      admission.giveBack(roomless.count, roomless.bytes);
      plan.dropped.forEach(onDeadLetterDropped);
      return taken;
    },
    undone() {
      for (const { keys, seq } of fresh.events) seen.window.forget(keys, seq);
    },
  };
}

/** Events of one entry of what is known of repeats, at most: it is encoded in one go. */
const eventsPerEntry = 5000;

function* cutIntoGroups(events: readonly Entry[]): Generator<readonly Entry[]> {
  for (let from = 0; from < events.length; from += eventsPerEntry) {
    yield events.slice(from, from + eventsPerEntry);
  }
}

/** A group's drafts, numbered and counted in the group's draft of the totals, and sorted by what becomes of them. */
class Numbering {
  readonly fresh: Readonly<Record<StoreLane, Entry[]>> = mapStoreLanes(() => []);
  readonly buried: JournalDeadLetter[] = [];
  /** What asked for room and takes none: repeats, and what is buried. */
  readonly roomless = { count: 0, bytes: 0 };
  readonly #draft: Totals;
  readonly #parts: StageParts;
  /** What the dedupe window keeps of all of them. */
  readonly #known: { readonly at: number; readonly note: number };

  constructor(draft: Totals, parts: StageParts) {
    this.#draft = draft;
    this.#parts = parts;
    this.#known = { at: parts.clock.monotonic(), note: draft.nextSeen };
  }

  take(one: Draft): AppendedEnvelope {
    const { lane, keys, deadLetterReason } = one;
    const { epoch, seen } = this.#parts;
    const known = lane === 'events' ? seen.window.find(keys) : undefined;
    if (known !== undefined) {
      this.#leaveOut(one);
      return { id: toId({ lane, epoch, seq: known }), duplicate: true };
    }
    const totals = this.#draft.lanes[lane];
    const seq = totals.nextSeq++;
    totals.accepted++;
    if (deadLetterReason === undefined) this.#keep(one, seq);
    else this.#addDeadLetter(one, seq, deadLetterReason);
    return { id: toId({ lane, epoch, seq }), duplicate: false };
  }

  #keep({ lane, keys, acceptedAt, payload }: Draft, seq: number): void {
    const totals = this.#draft.lanes[lane];
    totals.count++;
    totals.bytes += payloadBytes({ payload });
    this.fresh[lane].push({ seq, acceptedAt, keys, payload });
    if (lane === 'events') this.#parts.seen.window.remember(keys, seq, this.#known);
  }

  #addDeadLetter(one: Draft, seq: number, reason: Reason): void {
    const { lane, keys, acceptedAt, payload } = one;
    const { epoch, clock } = this.#parts;
    this.#draft.lanes[lane].deadLettered++;
    this.buried.push({
      id: toId({ lane, epoch, seq }),
      lane,
      seq,
      keys,
      acceptedAt,
      deadLetteredAt: clock.now(),
      attempts: 0,
      reason,
      deliveryId: null,
      payload,
    });
    this.#leaveOut(one);
  }

  #leaveOut(one: Draft): void {
    this.roomless.count++;
    this.roomless.bytes += payloadBytes(one);
  }
}

function place(lane: StoreLane, fresh: readonly Entry[]): readonly Loaded[] {
  return cutIntoBlocks(fresh).map((entries) => {
    const [first] = entries;
    return {
      block: {
        key: [laneNumbers[lane], freshKind, first?.seq ?? 0],
        isRedriven: false,
        marks: toFreshMarks(entries.length),
      },
      entries,
    };
  });
}

function toWrite({ block, entries }: Loaded, { tables, scratch }: StageParts): Write {
  const [lane, kind, number] = block.key;
  return put(tables.blocks, [lane, kind, number], encodeBlock(entries, scratch.take));
}
