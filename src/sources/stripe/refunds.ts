import type { JsonObject } from '../../json/json.js';
import { asList, asObject, asText, asBigInt } from '../json.js';
import {
  addFailedRefund,
  addRefund,
  addRefundSum,
  withChargeLedger,
  type ChargeLedger,
  type CountedRefund,
  type LedgerStep,
} from './charge-ledger.js';
import {
  readUnixTime,
  skipEvent,
  createStripeEntry,
  type TopicResult,
  type StripeEntry,
  type StripeEvent,
  type StripeRules,
  type TopicMap,
} from './event.js';
import { readStripeValue, createStripeAmount, type StripeValue } from './money.js';
import { readStripeId } from './people.js';

/** Topics that report refunds. Any one of them is enough; several of them count a refund once. */
export const refundTopics: ReadonlyMap<string, TopicMap> = new Map<string, TopicMap>([
  ['refund.created', mapStripeRefund],
  ['refund.updated', mapStripeRefund],
  ['refund.failed', mapStripeRefund],
  ['charge.refund.updated', mapStripeRefund],
  ['charge.refunded', mapRefundedCharge],
]);

/** One refund: `from` is the refund, and `event` is the webhook that holds it. */
type Given = {
  readonly event: StripeEvent;
  readonly rules: StripeRules;
  readonly from: JsonObject;
};

function mapStripeRefund(event: StripeEvent, rules: StripeRules): TopicResult {
  return withChargeLedger(event, (ledger) =>
    addOneRefund(ledger, { event, rules, from: event.object }),
  );
}

/**
 * Maps charge.refunded. Before API version 2022-11-15 a charge lists its refunds, newest first. Later
 * versions give their sum only, and since 2024-10-28 there are events of the refunds themselves.
 */
function mapRefundedCharge(event: StripeEvent, rules: StripeRules): TopicResult {
  const { object } = event;
  // An authorization was cancelled; nothing was paid.
  if (object.captured === false) return skipEvent('not_captured');
  const refunds = asList(asObject(object.refunds).data).map(asObject).reverse();
  if (refunds.some((from) => readStripeId(from.id) !== undefined)) {
    return withChargeLedger(event, (before) => {
      const start: LedgerStep = { ledger: before, entries: [], reasons: [] };
      return refunds.reduce<LedgerStep>((step, from) => {
        const next = addOneRefund(step.ledger, { event, rules, from });
        return {
          ledger: next.ledger,
          entries: [...step.entries, ...next.entries],
          reasons: [...step.reasons, ...next.reasons],
        };
      }, start);
    });
  }
  const sum = readStripeValue(object, 'amount_refunded');
  if (sum.kind === 'none') return skipEvent('no_amount');
  const charge = readStripeId(object.id) ?? '';
  const given: Given = { event, rules, from: {} };
  if (sum.kind === 'unreadable') {
    return { kind: 'entry', entry: createRefundEntry(given, undefined, sum) };
  }
  const { minor, currency } = sum.money;
  const before = asBigInt(event.previous.amount_refunded);
  const by = event.id ?? `${minor}`;
  return withChargeLedger(event, (ledger) => {
    const added = addRefundSum(ledger, { by, charge, sum: minor, before });
    return createRefundStep(added, given, currency);
  });
}

function addOneRefund(ledger: ChargeLedger, given: Given): LedgerStep {
  const { event, from } = given;
  const id = readStripeId(from.id);
  const status = asText(from.status) ?? 'succeeded';
  const counted = readStripeValue({ currency: event.object.currency, ...from }, 'amount');
  if (status === 'pending' || status === 'requires_action') {
    return { ledger, entries: [], reasons: ['refund_pending'] };
  }
  if (counted.kind === 'none') return { ledger, entries: [], reasons: ['no_amount'] };
  const isFailed = status !== 'succeeded' || event.topic === 'refund.failed';
  if (counted.kind === 'unreadable' || id === undefined) {
    if (isFailed)
      return { ledger, entries: [createFailedRefundEntry(given, counted, false)], reasons: [] };
    return { ledger, entries: [createRefundEntry(given, id, counted)], reasons: [] };
  }
  const { minor: amount, currency } = counted.money;
  const named = { by: event.id ?? event.topic, id, amount };
  if (!isFailed) return createRefundStep(addRefund(ledger, named), given, currency);
  const hadSucceeded = from === event.object && event.previous.status === 'succeeded';
  const failed = addFailedRefund(ledger, { ...named, hadSucceeded });
  if (failed.wasCounted === null) {
    return { ledger: failed.ledger, entries: [], reasons: ['already_counted'] };
  }
  const entry = createFailedRefundEntry(given, counted, failed.wasCounted);
  return { ledger: failed.ledger, entries: [entry], reasons: [] };
}

function createRefundStep(
  { ledger, refund }: { readonly ledger: ChargeLedger; readonly refund: CountedRefund },
  given: Given,
  currency: string,
): LedgerStep {
  if (refund.kind === 'skipped') return { ledger, entries: [], reasons: [refund.reason] };
  const counted: StripeValue = { kind: 'read', money: createStripeAmount(refund.amount, currency) };
  return { ledger, entries: [createRefundEntry(given, refund.as, counted)], reasons: [] };
}

function createRefundEntry(
  { event, rules, from }: Given,
  insertId: string | undefined,
  counted: StripeValue,
): StripeEntry {
  const facts = {
    name: 'Refunded Payment',
    insertId,
    at: readUnixTime(from.created),
    counted,
    properties: {
      Amount: counted.kind === 'read' ? counted.money.amount : undefined,
      Refund: readStripeId(from.id),
      Reason: asText(from.reason),
    },
  };
  return createStripeEntry(event, facts, rules);
}

/** Has a `value` only if it reverses a refund that was counted. */
function createFailedRefundEntry(
  { event, rules, from }: Given,
  counted: StripeValue,
  wasCounted: boolean,
): StripeEntry {
  const id = readStripeId(from.id);
  const money = counted.kind === 'read' ? counted.money : undefined;
  const facts = {
    name: 'Failed Refund',
    insertId: id === undefined ? undefined : `${id}:failed`,
    ...(wasCounted || counted.kind === 'unreadable' ? { counted } : {}),
    properties: {
      Amount: money?.amount,
      Currency: money?.currency,
      Refund: id,
      Status: asText(from.status),
      Reason: asText(from.failure_reason) ?? asText(from.reason),
    },
  };
  return createStripeEntry(event, facts, rules);
}
