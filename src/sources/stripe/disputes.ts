import type { JsonObject } from '../../json/json.js';
import { asList, asObject, asText, asBigInt } from '../json.js';
import {
  readUnixTime,
  skipEvent,
  createStripeEntry,
  type TopicResult,
  type StripeEvent,
  type StripeRules,
  type TopicMap,
} from './event.js';
import { readStripeValue, type StripeValue } from './money.js';
import { readStripeId } from './people.js';

/**
 * Maps disputes. A dispute is not a refund, because it may be won. It counts as `value` of its own
 * metrics when its money leaves the account and when it comes back.
 */
export const disputeTopics: ReadonlyMap<string, TopicMap> = new Map<string, TopicMap>([
  [
    'charge.dispute.created',
    mapDispute({ name: 'Disputed Payment', toId: (id) => id, isFirst: true }),
  ],
  [
    'charge.dispute.updated',
    mapDispute({ name: 'Updated Dispute', toId: (id, event) => `${id}:${event.id ?? 'updated'}` }),
  ],
  ['charge.dispute.closed', mapDispute({ name: 'Closed Dispute', toId: (id) => `${id}:closed` })],
  ['charge.dispute.funds_withdrawn', mapMovedFunds('Dispute Funds Withdrawn', 'withdrawn')],
  ['charge.dispute.funds_reinstated', mapMovedFunds('Dispute Funds Reinstated', 'reinstated')],
]);

type DisputeTopic = {
  readonly name: string;
  readonly toId: (dispute: string, event: StripeEvent) => string;
  /** True: the event has the time at which the dispute was opened. */
  readonly isFirst?: boolean;
  /** True: the amount is the `value` of the event. */
  readonly isMoney?: boolean;
};

function mapMovedFunds(name: string, way: 'withdrawn' | 'reinstated'): TopicMap {
  return mapDispute({
    name,
    toId: (id, { object }) => findMovement(object, way) ?? `${id}:${way}`,
    isMoney: true,
  });
}

/** The newest balance transaction in one direction: money may leave and come back more than once. */
function findMovement(dispute: JsonObject, way: 'withdrawn' | 'reinstated'): string | undefined {
  const movements = asList(dispute.balance_transactions).map(asObject);
  const sign = way === 'withdrawn' ? -1n : 1n;
  const id = readStripeId(
    movements.findLast(({ amount }) => (asBigInt(amount) ?? 0n) * sign > 0n)?.id,
  );
  return id === undefined ? undefined : `${readStripeId(dispute.id) ?? ''}:${id}`;
}

function mapDispute({ name, toId, isFirst, isMoney }: DisputeTopic): TopicMap {
  return (event: StripeEvent, rules: StripeRules): TopicResult => {
    const { object } = event;
    const counted = readStripeValue(object, 'amount');
    if (counted.kind === 'none') return skipEvent('no_amount');
    const id = readStripeId(object.id);
    const money = counted.kind === 'read' ? counted.money : undefined;
    const isCounted = isMoney === true || counted.kind === 'unreadable';
    const facts: Parameters<typeof createStripeEntry>[1] = {
      name,
      insertId: id === undefined ? undefined : toId(id, event),
      at: isFirst === true ? readUnixTime(object.created) : undefined,
      ...(isCounted && { counted: counted satisfies StripeValue }),
      properties: {
        Amount: money?.amount,
        Currency: money?.currency,
        Dispute: id,
        Reason: asText(object.reason),
        Status: asText(object.status),
        EvidenceDueBy: readUnixTime(asObject(object.evidence_details).due_by),
      },
    };
    return { kind: 'entry', entry: createStripeEntry(event, facts, rules) };
  };
}
