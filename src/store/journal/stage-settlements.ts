import type { Settlement } from '../../model/store.js';
import { payloadBytes } from '../claim-builder.js';
import { sortSettlement, type SortedSettlement } from '../sort-settled.js';
import type { WrittenDelivery } from './delivery-log.js';
import type { Staged } from './group-commit.js';
import type { JournalEnvelope } from './lane.js';
import type { JournalDeadLetter } from './dead-letter-codec.js';
import { StateTable } from './state-table.js';
import type { JournalState } from './journal-state.js';
import type { DedupeEntry } from './dedupe-log.js';
import type { Tables } from './tables.js';
import type { Totals } from './totals.js';
import { put, remove, type Write } from './write.js';
import { dedupedLane } from '../../model/lane.js';

/** A settlement with its verdicts sorted by what they do to the store. */
type SettlementPlan = {
  readonly settlement: Settlement;
  readonly sorted: SortedSettlement<JournalEnvelope>;
  /** Delivered, merged and dead-lettered envelopes: they are no longer unsettled. */
  readonly removed: readonly JournalEnvelope[];
  /** Payload bytes of `removed`. */
  readonly bytes: number;
};

/** Envelopes settled in one group, at most, since a group blocks other work. A single settlement may exceed it. */
const maxSettledTogether = 10_000;

/**
 * Stages settlements. Each is planned from committed state, so a group ends before the first settlement that
 * touches an envelope of an earlier one. The result is the number of settlements in the group.
 */
export function stageSettlements(
  settlements: readonly Settlement[],
  nextTotals: Totals,
  state: JournalState,
): Staged<number> {
  const { tables, clock, dedupe, deliveryLog, deadLetters } = state;
  const stateTable = new StateTable(clock.now());
  const plans = planSettlements(settlements, stateTable, state);
  for (const plan of plans) updateTotals(nextTotals, plan);
  const deadLetterPlan = deadLetters.add(
    plans.flatMap((plan) => toDeadLetters(plan, clock.now())),
    nextTotals,
  );
  const forgotten = plans.flatMap(toForgottenEvents);
  return {
    writes: [
      ...stateTable.writes(tables),
      ...deliveryLog.write(plans.flatMap(toWrittenDeliveries), nextTotals),
      ...deadLetterPlan.writes,
      ...dedupe.remove(forgotten, nextTotals),
      ...plans.flatMap((plan) => toImportWrites(plan, tables)),
    ],
    committed() {
      stateTable.apply();
      for (const { keys, seq } of forgotten) dedupe.window.remove(keys, seq);
      for (const plan of plans) applySettlement(plan, state);
      deadLetterPlan.dropped.forEach(state.onDeadLetterDropped);
      return plans.length;
    },
  };
}

/**
 * Plans settlements and records the new states, up to the first that conflicts with an earlier one or exceeds the
 * bound.
 */
function planSettlements(
  settlements: readonly Settlement[],
  stateTable: StateTable,
  state: JournalState,
): readonly SettlementPlan[] {
  const plans: SettlementPlan[] = [];
  const deliveries = new Set<string>();
  let count = 0;
  for (const settlement of settlements) {
    const { settled, delivery } = settlement;
    count += settled.length;
    if (plans.length > 0 && count > maxSettledTogether) break;
    if (delivery !== undefined && deliveries.has(delivery.id)) break;
    const plan = planSettlement(settlement, state);
    const { polled, retries } = plan.sorted;
    if (
      [plan.removed, polled, ...retries.values()].some((envelope) =>
        stateTable.hasChanged(envelope),
      )
    )
      break;
    for (const envelope of plan.removed) stateTable.set(envelope, 'settled');
    for (const envelope of polled) stateTable.setRetry(envelope, 0);
    for (const [afterMs, envelope] of retries)
      for (const one of envelope) stateTable.setRetry(one, afterMs);
    if (delivery !== undefined) deliveries.add(delivery.id);
    plans.push(plan);
  }
  return plans;
}

function planSettlement(settlement: Settlement, { lanes }: JournalState): SettlementPlan {
  const { lane, settled, delivery } = settlement;
  const sorted = sortSettlement(settled, delivery?.id ?? null, (id) =>
    lanes[lane].workingSet.claimed(id),
  );
  const { delivered, merged, deadLettered } = sorted;
  const removed = [...delivered, ...merged, ...deadLettered.map(({ queued }) => queued)];
  const bytes = removed.reduce((sum, envelope) => sum + payloadBytes(envelope), 0);
  return { settlement, sorted, removed, bytes };
}

function updateTotals(
  { lanes }: Totals,
  { settlement, sorted, removed, bytes }: SettlementPlan,
): void {
  const totals = lanes[settlement.lane];
  totals.count -= removed.length;
  totals.bytes -= bytes;
  totals.delivered += sorted.delivered.length;
  totals.merged += sorted.merged.length;
  totals.deadLettered += sorted.deadLettered.length;
}

function toDeadLetters(
  { settlement, sorted }: SettlementPlan,
  deadLetteredAt: number,
): readonly JournalDeadLetter[] {
  const deliveryId = settlement.delivery?.id ?? null;
  return sorted.deadLettered.map(({ queued, reason }) => {
    const { id, lane, seq, keys, acceptedAt, attempts, payload } = queued;
    const of = { id, lane, seq, keys, acceptedAt, payload };
    return { ...of, attempts: attempts + 1, reason, deliveryId, deadLetteredAt };
  });
}

/**
 * Dead-lettered events: their keys leave the dedupe window, so that a corrected event can be posted under the same
 * id.
 */
function toForgottenEvents({ settlement, sorted }: SettlementPlan): readonly DedupeEntry[] {
  return settlement.lane === dedupedLane ? sorted.deadLettered.map(({ queued }) => queued) : [];
}

function toWrittenDeliveries({
  settlement: { delivery },
  sorted,
}: SettlementPlan): readonly WrittenDelivery[] {
  if (delivery === undefined) return [];
  const [delivered, merged] = [sorted.delivered.map(toSeq), sorted.merged.map(toSeq)];
  return [{ delivery, delivered, merged }];
}

function toImportWrites(
  { settlement: { lane, settled, delivery }, sorted: { polled, ended } }: SettlementPlan,
  { imports }: Tables,
): readonly Write[] {
  const isUpdate = settled.length === 0;
  const ref = isUpdate ? findImportRef(delivery, imports) : (polled[0]?.ref ?? null);
  return [
    ...[...ended].map((each) => remove(imports, each)),
    ...(ref === null || delivery === undefined ? [] : [put(imports, ref, { lane, delivery })]),
  ];
}

/** Returns the open import job of a delivery that is written again with new information. */
function findImportRef(
  delivery: Settlement['delivery'],
  imports: Tables['imports'],
): string | null {
  const ref = delivery?.importJob?.id;
  return ref !== undefined && imports.doesExist(ref) ? ref : null;
}

function applySettlement(
  { settlement, sorted, removed, bytes }: SettlementPlan,
  state: JournalState,
): void {
  const lane = state.lanes[settlement.lane];
  state.admission.remove(removed.length, bytes);
  lane.workingSet.remove(removed);
  lane.workingSet.update(sorted.polled);
  for (const [afterMs, envelope] of sorted.retries) lane.workingSet.sendBack(envelope, afterMs);
  lane.notifyIfClaimable();
}

const toSeq = ({ seq }: JournalEnvelope): number => seq;
