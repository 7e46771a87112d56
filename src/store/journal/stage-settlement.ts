import type { DeadLetter, Reason, Settlement } from '../../envelope.js';
import { weight } from '../pick.js';
import { sortSettled } from '../sort-settled.js';
import type { Block } from './backlog.js';
import type { Staged } from './group-commit.js';
import type { Held } from './lane.js';
import type { Letter } from './letter.js';
import { toStoredMarks, type Mark, type Trial } from './marks.js';
import type { Parts } from './parts.js';
import type { Tables } from './tables.js';
import type { Totals } from './totals.js';
import { put, remove, type Write } from './write.js';

export type SettlementDeps = Parts & {
  readonly onDeadLetterDropped: (letter: DeadLetter) => void;
};

/** What one delivery's verdicts change, on disk and then in memory. */
export function stageSettlement(
  { lane: name, settled, delivery }: Settlement,
  draft: Totals,
  deps: SettlementDeps,
): Staged<void> {
  const { tables, clock, admission, seen, log, letters } = deps;
  const lane = deps.lanes[name];
  const deliveryId = delivery?.id ?? null;
  const sorted = sortSettled(settled, deliveryId, (id) => lane.held.claimed(id));
  const { delivered, merged, buried, back, followed, ended } = sorted;
  const gone = [...delivered, ...merged, ...buried.map(({ queued }) => queued)];
  const bytes = gone.reduce((sum, held) => sum + weight(held), 0);
  const goneEvents = name === 'events' ? buried.map(({ queued }) => queued) : [];

  const totals = draft.lanes[name];
  totals.count -= gone.length;
  totals.bytes -= bytes;
  totals.delivered += delivered.length;
  totals.merged += merged.length;
  totals.deadLettered += buried.length;

  const sheet = new MarkSheet(clock.now());
  for (const held of gone) sheet.mark(held, 'gone');
  for (const held of followed) sheet.try(held, 0);
  for (const [afterMs, held] of back) for (const one of held) sheet.try(one, afterMs);

  const plan = letters.bury(
    buried.map(({ queued, reason }) =>
      toLetter(queued, { reason, deliveryId, buriedAt: clock.now() }),
    ),
    draft,
  );
  const ref = followed[0]?.ref ?? null;
  return {
    writes: [
      ...sheet.writes(tables),
      ...(delivery === undefined
        ? []
        : log.write(
            { delivery, delivered: delivered.map(toSeq), merged: merged.map(toSeq) },
            draft,
          )),
      ...plan.writes,
      ...seen.forget(goneEvents, draft),
      ...[...ended].map((each) => remove(tables.imports, each)),
      ...(ref === null || delivery === undefined
        ? []
        : [put(tables.imports, ref, { lane: name, delivery })]),
    ],
    committed() {
      sheet.apply();
      for (const { keys, seq } of goneEvents) seen.window.forget(keys, seq);
      admission.remove(gone.length, bytes);
      lane.held.remove(gone);
      lane.held.update(followed);
      for (const [afterMs, held] of back) lane.held.sendBack(held, afterMs);
      plan.dropped.forEach(deps.onDeadLetterDropped);
      lane.announce();
    },
  };
}

/** New marks of the blocks that a settlement touches; the old ones stand until it is on disk. */
class MarkSheet {
  readonly #now: number;
  readonly #marks = new Map<Block, Mark[]>();
  /** Neighbours mostly lie in one block. */
  #latest: Block | null = null;
  #latestMarks: Mark[] = [];
  /** One for all envelopes of a block that fared alike: they are written once. */
  readonly #trials = new Map<Reason | null, Map<string, Trial>>();

  constructor(now: number) {
    this.#now = now;
  }

  mark({ block, index }: Held, mark: Mark): void {
    if (block !== this.#latest) {
      this.#latest = block;
      this.#latestMarks = this.#marks.get(block) ?? [...block.marks];
      this.#marks.set(block, this.#latestMarks);
    }
    this.#latestMarks[index] = mark;
  }

  try(held: Held, delayMs: number): void {
    this.mark(held, this.#toTrial(held, delayMs));
  }

  writes({ blocks, marks }: Tables): readonly Write[] {
    return [...this.#marks].flatMap(([block, next]): readonly Write[] => {
      const [lane, kind, number] = block.key;
      if (next.some((mark) => mark !== 'gone')) {
        return [put(marks, [lane, kind, number], toStoredMarks(next))];
      }
      return [remove(blocks, [lane, kind, number]), remove(marks, [lane, kind, number])];
    });
  }

  apply(): void {
    for (const [block, marks] of this.#marks) block.marks = marks;
  }

  #toTrial({ attempts, alone, lastTry, ref }: Held, delayMs: number): Trial {
    const reason = lastTry?.reason ?? null;
    const alike = this.#trials.get(reason) ?? new Map<string, Trial>();
    this.#trials.set(reason, alike);
    const name = `${attempts}/${String(alone)}/${delayMs}/${ref ?? ''}`;
    const known = alike.get(name);
    if (known !== undefined) return known;
    const trial = { attempts, alone, dueAt: this.#now + delayMs, delayMs, lastTry, ref };
    alike.set(name, trial);
    return trial;
  }
}

function toLetter(
  { id, lane, seq, keys, acceptedAt, attempts, payload }: Held,
  facts: Pick<Letter, 'reason' | 'deliveryId' | 'buriedAt'>,
): Letter {
  return { id, lane, seq, keys, acceptedAt, attempts: attempts + 1, payload, ...facts };
}

const toSeq = ({ seq }: Held): number => seq;
