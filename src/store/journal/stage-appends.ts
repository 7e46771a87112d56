import { lanes, type Draft, type Lane } from '../../envelope.js';
import { toId } from '../ids.js';
import { weight } from '../pick.js';
import type { Taken } from '../store.js';
import { toFreshMarks, type Loaded } from './backlog.js';
import { cutIntoBlocks, encodeBlock, type Entry } from './block.js';
import type { Staged } from './group-commit.js';
import type { Parts } from './parts.js';
import { freshKind } from './tables.js';
import { laneNumbers, type Totals } from './totals.js';
import { put, type Write } from './write.js';

/** What a group of appends adds: a few blocks a lane, and the keys that are known from now on. */
export function stageAppends(
  appends: readonly (readonly Draft[])[],
  draft: Totals,
  parts: Parts,
): Staged<readonly (readonly Taken[])[]> {
  const { seen, admission, epoch } = parts;
  const note = draft.nextSeen;
  const fresh: Record<Lane, Entry[]> = { events: [], profiles: [] };
  const repeats = { count: 0, bytes: 0 };

  const take = (one: Draft): Taken => {
    const known = one.lane === 'events' ? seen.window.find(one.keys) : undefined;
    if (known !== undefined) {
      repeats.count++;
      repeats.bytes += weight(one);
      return { id: toId({ lane: 'events', epoch, seq: known }), duplicate: true };
    }
    const totals = draft.lanes[one.lane];
    const seq = totals.nextSeq++;
    totals.count++;
    totals.accepted++;
    totals.bytes += weight(one);
    const { keys, acceptedAt, payload } = one;
    fresh[one.lane].push({ seq, acceptedAt, keys, payload });
    const id = toId({ lane: one.lane, epoch, seq });
    if (one.lane === 'events') seen.window.remember(one.keys, seq, { note });
    return { id, duplicate: false };
  };

  const taken = appends.map((drafts) => drafts.map(take));
  const placed = {
    events: place('events', fresh.events),
    profiles: place('profiles', fresh.profiles),
  };
  const all = [...placed.events, ...placed.profiles];
  return {
    writes: [...all.map((each) => toWrite(each, parts)), ...seen.remember(fresh.events, draft)],
    committed() {
      for (const lane of lanes) {
        for (const each of placed[lane]) parts.lanes[lane].take(each);
      }
      admission.giveBack(repeats.count, repeats.bytes);
      return taken;
    },
    undone() {
      for (const { keys, seq } of fresh.events) seen.window.forget(keys, seq);
    },
  };
}

function place(lane: Lane, fresh: readonly Entry[]): readonly Loaded[] {
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

function toWrite({ block, entries }: Loaded, { tables }: Parts): Write {
  const [lane, kind, number] = block.key;
  return put(tables.blocks, [lane, kind, number], encodeBlock(entries));
}
