import type { JsonObject } from '../../json/json.js';
import { asList, asObject, asText, asBigInt } from '../json.js';
import {
  addFailedRefund,
  addRefund,
  addRefundSum,
  parseChargeLedger,
  stringifyChargeLedger,
  type ChargeLedger,
  type CountedRefund,
} from './charge-ledger.js';
import {
  readUnixTime,
  skipEvent,
  createStripeEntry,
  toResolved,
  type TopicResult,
  type StripeEntry,
  type StripeEvent,
  type StripeRules,
  type TopicMap,
} from './event.js';
import { readStripeValue, createStripeAmount, type StripeValue } from './money.js';
import { readStripeId, chargeLedgerKey } from './people.js';

/** Any of these is enough; several of them count a refund once. */
export const refundTopics: ReadonlyMap<string, TopicMap> = new Map<string, TopicMap>([
  ['refund.created', mapStripeRefund],
  ['refund.updated', mapStripeRefund],
  ['refund.failed', mapStripeRefund],
  ['charge.refund.updated', mapStripeRefund],
  ['charge.refunded', mapRefundedCharge],
]);

/** One refund: `from` is the refund itself, `event` the webhook it is in. */
type Given = {
  readonly event: StripeEvent;
  readonly rules: StripeRules;
  readonly from: JsonObject;
};

/** What one refund adds to a ledger. */
type Step = {
  readonly ledger: ChargeLedger;
  readonly entry?: StripeEntry;
  readonly reason?: string;
};

function mapStripeRefund(event: StripeEvent, rules: StripeRules): TopicResult {
  return withLedger(event, (ledger) => [
    addOneRefund(ledger, { event, rules, from: event.object }),
  ]);
}

/**
 * Before API version 2022-11-15 a charge has its refunds, newest first. After it there is only their
 * sum, and, from 2024-10-28 on, events of the refunds themselves.
 */
function mapRefundedCharge(event: StripeEvent, rules: StripeRules): TopicResult {
  const { object } = event;
  // An authorisation that was cancelled: nothing was paid.
  if (object.captured === false) return skipEvent('not_captured');
  const refunds = asList(asObject(object.refunds).data).map(asObject).reverse();
  if (refunds.some((from) => readStripeId(from.id) !== undefined)) {
    return withLedger(event, (ledger) => {
      const steps: Step[] = [];
      for (const from of refunds) {
        steps.push(addOneRefund(steps.at(-1)?.ledger ?? ledger, { event, rules, from }));
      }
      return steps;
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
  return withLedger(event, (ledger) => {
    const added = addRefundSum(ledger, { by, charge, sum: minor, before });
    return [toStep(added, given, currency)];
  });
}

function addOneRefund(ledger: ChargeLedger, given: Given): Step {
  const { event, from } = given;
  const id = readStripeId(from.id);
  const status = asText(from.status) ?? 'succeeded';
  const counted = readStripeValue({ currency: event.object.currency, ...from }, 'amount');
  if (status === 'pending' || status === 'requires_action') {
    return { ledger, reason: 'refund_pending' };
  }
  if (counted.kind === 'none') return { ledger, reason: 'no_amount' };
  const isFailed = status !== 'succeeded' || event.topic === 'refund.failed';
  if (counted.kind === 'unreadable' || id === undefined) {
    if (isFailed) return { ledger, entry: createFailedRefundEntry(given, counted, false) };
    return { ledger, entry: createRefundEntry(given, id, counted) };
  }
  const { minor: amount, currency } = counted.money;
  const named = { by: event.id ?? event.topic, id, amount };
  if (!isFailed) return toStep(addRefund(ledger, named), given, currency);
  const hadSucceeded = from === event.object && event.previous.status === 'succeeded';
  const failed = addFailedRefund(ledger, { ...named, hadSucceeded });
  if (failed.wasCounted === null) return { ledger: failed.ledger, reason: 'already_counted' };
  return {
    ledger: failed.ledger,
    entry: createFailedRefundEntry(given, counted, failed.wasCounted),
  };
}

function toStep(
  { ledger, refund }: { readonly ledger: ChargeLedger; readonly refund: CountedRefund },
  given: Given,
  currency: string,
): Step {
  if (refund.kind === 'skipped') return { ledger, reason: refund.reason };
  const counted: StripeValue = { kind: 'read', money: createStripeAmount(refund.amount, currency) };
  return { ledger, entry: createRefundEntry(given, refund.as, counted) };
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

/** `value` only where it takes back a refund that was counted. */
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

function withLedger(
  event: StripeEvent,
  toSteps: (ledger: ChargeLedger) => readonly Step[],
): TopicResult {
  return {
    kind: 'ledger',
    ledger: {
      kind: 'charge',
      key: chargeLedgerKey(event),
      resolve: (kept) => {
        const before = parseChargeLedger(kept);
        const steps = toSteps(before);
        const after = steps.at(-1)?.ledger ?? before;
        const entries = steps.flatMap(({ entry }) => (entry === undefined ? [] : [entry]));
        const reasons = steps.flatMap(({ reason }) => (reason === undefined ? [] : [reason]));
        return {
          ...toResolved(entries, [...new Set(reasons)]),
          kept: after === before ? kept : stringifyChargeLedger(after),
        };
      },
    },
  };
}
