import type { JsonObject } from '../../json/json.js';
import { asList, asObject, asText, asWhole } from '../json.js';
import {
  addFailure,
  addRefund,
  addRefundSum,
  parseLedger,
  stringifyLedger,
  type ChargeLedger,
  type CountedRefund,
} from './charge-ledger.js';
import {
  readTime,
  skip,
  toEventEntry,
  toResolved,
  type Made,
  type StripeEntry,
  type StripeEvent,
  type StripeRules,
  type ToMade,
} from './event.js';
import { readCounted, toMoney, type CountedMoney } from './money.js';
import { readId, toLedgerKey } from './people.js';

/** Any of these is enough; several of them count a refund once. */
export const refundTopics: ReadonlyMap<string, ToMade> = new Map<string, ToMade>([
  ['refund.created', toRefund],
  ['refund.updated', toRefund],
  ['refund.failed', toRefund],
  ['charge.refund.updated', toRefund],
  ['charge.refunded', toRefundedCharge],
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

function toRefund(event: StripeEvent, rules: StripeRules): Made {
  return withLedger(event, (ledger) => [addOne(ledger, { event, rules, from: event.object })]);
}

/**
 * Before API version 2022-11-15 a charge has its refunds, newest first. After it there is only their
 * sum, and, from 2024-10-28 on, events of the refunds themselves.
 */
function toRefundedCharge(event: StripeEvent, rules: StripeRules): Made {
  const { object } = event;
  // An authorisation that was cancelled: nothing was paid.
  if (object.captured === false) return skip('not_captured');
  const refunds = asList(asObject(object.refunds).data).map(asObject).reverse();
  if (refunds.some((from) => readId(from.id) !== undefined)) {
    return withLedger(event, (ledger) => {
      const steps: Step[] = [];
      for (const from of refunds) {
        steps.push(addOne(steps.at(-1)?.ledger ?? ledger, { event, rules, from }));
      }
      return steps;
    });
  }
  const sum = readCounted(object, 'amount_refunded');
  if (sum.kind === 'none') return skip('no_amount');
  const charge = readId(object.id) ?? '';
  const given: Given = { event, rules, from: {} };
  if (sum.kind === 'unreadable') {
    return { kind: 'entry', entry: toRefundedEntry(given, undefined, sum) };
  }
  const { minor, currency } = sum.money;
  const before = asWhole(event.previous.amount_refunded);
  const by = event.id ?? `${minor}`;
  return withLedger(event, (ledger) => {
    const added = addRefundSum(ledger, { by, charge, sum: minor, before });
    return [toStep(added, given, currency)];
  });
}

function addOne(ledger: ChargeLedger, given: Given): Step {
  const { event, from } = given;
  const id = readId(from.id);
  const status = asText(from.status) ?? 'succeeded';
  const counted = readCounted({ currency: event.object.currency, ...from }, 'amount');
  if (status === 'pending' || status === 'requires_action') {
    return { ledger, reason: 'refund_pending' };
  }
  if (counted.kind === 'none') return { ledger, reason: 'no_amount' };
  const isFailed = status !== 'succeeded' || event.topic === 'refund.failed';
  if (counted.kind === 'unreadable' || id === undefined) {
    if (isFailed) return { ledger, entry: toFailedEntry(given, counted, false) };
    return { ledger, entry: toRefundedEntry(given, id, counted) };
  }
  const { minor: amount, currency } = counted.money;
  const named = { by: event.id ?? event.topic, id, amount };
  if (!isFailed) return toStep(addRefund(ledger, named), given, currency);
  const hadSucceeded = from === event.object && event.previous.status === 'succeeded';
  const failed = addFailure(ledger, { ...named, hadSucceeded });
  if (failed.wasCounted === null) return { ledger: failed.ledger, reason: 'already_counted' };
  return { ledger: failed.ledger, entry: toFailedEntry(given, counted, failed.wasCounted) };
}

function toStep(
  { ledger, refund }: { readonly ledger: ChargeLedger; readonly refund: CountedRefund },
  given: Given,
  currency: string,
): Step {
  if (refund.kind === 'skipped') return { ledger, reason: refund.reason };
  const counted: CountedMoney = { kind: 'read', money: toMoney(refund.amount, currency) };
  return { ledger, entry: toRefundedEntry(given, refund.as, counted) };
}

function toRefundedEntry(
  { event, rules, from }: Given,
  insertId: string | undefined,
  counted: CountedMoney,
): StripeEntry {
  const facts = {
    name: 'Refunded Payment',
    insertId,
    at: readTime(from.created),
    counted,
    properties: {
      Amount: counted.kind === 'read' ? counted.money.amount : undefined,
      Refund: readId(from.id),
      Reason: asText(from.reason),
    },
  };
  return toEventEntry(event, facts, rules);
}

/** `value` only where it takes back a refund that was counted. */
function toFailedEntry(
  { event, rules, from }: Given,
  counted: CountedMoney,
  wasCounted: boolean,
): StripeEntry {
  const id = readId(from.id);
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
  return toEventEntry(event, facts, rules);
}

function withLedger(event: StripeEvent, toSteps: (ledger: ChargeLedger) => readonly Step[]): Made {
  return {
    kind: 'ledger',
    ledger: {
      kind: 'charge',
      key: toLedgerKey(event),
      resolve: (kept) => {
        const before = parseLedger(kept);
        const steps = toSteps(before);
        const after = steps.at(-1)?.ledger ?? before;
        const entries = steps.flatMap(({ entry }) => (entry === undefined ? [] : [entry]));
        const reasons = steps.flatMap(({ reason }) => (reason === undefined ? [] : [reason]));
        return {
          ...toResolved(entries, [...new Set(reasons)]),
          kept: after === before ? kept : stringifyLedger(after),
        };
      },
    },
  };
}
