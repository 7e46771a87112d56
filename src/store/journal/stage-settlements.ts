import type { Settlement } from '../../model/store.js';
import { payloadBytes } from '../claim-builder.js';
import { sortSettled, type Sorted } from '../sort-settled.js';
import type { WrittenDelivery } from './delivery-log.js';
import type { Staged } from './group-commit.js';
import type { JournalEnvelope } from './lane.js';
import type { JournalDeadLetter } from './dead-letter-codec.js';
import { StateTable } from './mark-sheet.js';
import type { StageDeps } from './stage-deps.js';
import type { DedupeEntry } from './dedupe-log.js';
import type { Tables } from './tables.js';
import type { Totals } from './totals.js';
import { put, remove, type Write } from './write.js';

/** A settlement beside the verdicts on what is claimed, sorted by what they do. */
type Plan = {
  readonly settlement: Settlement;
  readonly sorted: Sorted<JournalEnvelope>;
  /** Delivered, merged and buried: what is not unsettled any more. */
  readonly gone: readonly JournalEnvelope[];
  /** Of what is gone. */
  readonly bytes: number;
};

/** What settles in one go holds up everything else; a single settlement may be as large. */
const maxTogether = 10_000;

/**
 * What several deliveries' verdicts change, on disk and then in memory. Each is decided on what is on
 * disk, so one that touches what another before it does is left for later, with all that follow. How
 * many were taken.
 */
export function stageSettlements(
  settlements: readonly Settlement[],
  draft: Totals,
  deps: StageDeps,
): Staged<number> {
  const { tables, clock, seen, log, letters } = deps;
  const sheet = new StateTable(clock.now());
  const plans = toPlans(settlements, sheet, deps);
  for (const plan of plans) countIn(draft, plan);
  const burial = letters.add(
    plans.flatMap((plan) => toLetters(plan, clock.now())),
    draft,
  );
  const forgotten = plans.flatMap(toForgotten);
  return {
    writes: [
      ...sheet.writes(tables),
      ...log.write(plans.flatMap(toWritten), draft),
      ...burial.writes,
      ...seen.forget(forgotten, draft),
      ...plans.flatMap((plan) => toImportWrites(plan, tables)),
    ],
    committed() {
      sheet.apply();
      for (const { keys, seq } of forgotten) seen.window.forget(keys, seq);
      for (const plan of plans) bringUpToDate(plan, deps);
      burial.dropped.forEach(deps.onDeadLetterDropped);
      return plans.length;
    },
  };
}

/** Marks what each decides, until one meets another or there are too many. */
function toPlans(
  settlements: readonly Settlement[],
  sheet: StateTable,
  deps: StageDeps,
): readonly Plan[] {
  const plans: Plan[] = [];
  const deliveries = new Set<string>();
  let count = 0;
  for (const settlement of settlements) {
    const { settled, delivery } = settlement;
    count += settled.length;
    if (plans.length > 0 && count > maxTogether) break;
    if (delivery !== undefined && deliveries.has(delivery.id)) break;
    const plan = toPlan(settlement, deps);
    const { followed, back } = plan.sorted;
    if ([plan.gone, followed, ...back.values()].some((held) => sheet.hasAny(held))) break;
    for (const held of plan.gone) sheet.mark(held, 'gone');
    for (const held of followed) sheet.try(held, 0);
    for (const [afterMs, held] of back) for (const one of held) sheet.try(one, afterMs);
    if (delivery !== undefined) deliveries.add(delivery.id);
    plans.push(plan);
  }
  return plans;
}

function toPlan(settlement: Settlement, { lanes }: StageDeps): Plan {
  const { lane, settled, delivery } = settlement;
  const sorted = sortSettled(settled, delivery?.id ?? null, (id) => lanes[lane].held.claimed(id));
  const { delivered, merged, buried } = sorted;
  const gone = [...delivered, ...merged, ...buried.map(({ queued }) => queued)];
  const bytes = gone.reduce((sum, held) => sum + payloadBytes(held), 0);
  return { settlement, sorted, gone, bytes };
}

function countIn({ lanes }: Totals, { settlement, sorted, gone, bytes }: Plan): void {
  const totals = lanes[settlement.lane];
  totals.count -= gone.length;
  totals.bytes -= bytes;
  totals.delivered += sorted.delivered.length;
  totals.merged += sorted.merged.length;
  totals.deadLettered += sorted.buried.length;
}

function toLetters(
  { settlement, sorted }: Plan,
  deadLetteredAt: number,
): readonly JournalDeadLetter[] {
  const deliveryId = settlement.delivery?.id ?? null;
  return sorted.buried.map(({ queued, reason }) => {
    const { id, lane, seq, keys, acceptedAt, attempts, payload } = queued;
    const of = { id, lane, seq, keys, acceptedAt, payload };
    return { ...of, attempts: attempts + 1, reason, deliveryId, deadLetteredAt };
  });
}

/** Events that may come again, since they went to the dead letters. */
function toForgotten({ settlement, sorted }: Plan): readonly DedupeEntry[] {
  return settlement.lane === 'events' ? sorted.buried.map(({ queued }) => queued) : [];
}

function toWritten({ settlement: { delivery }, sorted }: Plan): readonly WrittenDelivery[] {
  if (delivery === undefined) return [];
  const [delivered, merged] = [sorted.delivered.map(toSeq), sorted.merged.map(toSeq)];
  return [{ delivery, delivered, merged }];
}

function toImportWrites(
  { settlement: { lane, settled, delivery }, sorted: { followed, ended } }: Plan,
  { imports }: Tables,
): readonly Write[] {
  const isUpdate = settled.length === 0;
  const ref = isUpdate ? toKnownRef(delivery, imports) : (followed[0]?.ref ?? null);
  return [
    ...[...ended].map((each) => remove(imports, each)),
    ...(ref === null || delivery === undefined ? [] : [put(imports, ref, { lane, delivery })]),
  ];
}

/** The open import job of a delivery that is written anew with what is known since. */
function toKnownRef(delivery: Settlement['delivery'], imports: Tables['imports']): string | null {
  const ref = delivery?.importJob?.id;
  return ref !== undefined && imports.doesExist(ref) ? ref : null;
}

function bringUpToDate({ settlement, sorted, gone, bytes }: Plan, deps: StageDeps): void {
  const lane = deps.lanes[settlement.lane];
  deps.admission.remove(gone.length, bytes);
  lane.held.remove(gone);
  lane.held.update(sorted.followed);
  for (const [afterMs, held] of sorted.back) lane.held.sendBack(held, afterMs);
  lane.announce();
}

const toSeq = ({ seq }: JournalEnvelope): number => seq;
