import type { JsonObject } from '../../json/json.js';
import { asList, asObject, asText, asWhole } from '../json.js';
import {
  readTime,
  skip,
  toEventEntry,
  type Made,
  type StripeEvent,
  type StripeRules,
  type ToMade,
} from './event.js';
import { readCounted, type CountedMoney } from './money.js';
import { readId } from './people.js';

/**
 * A dispute is no refund: it may be won. It counts, as `value` of metrics of its own, when its money
 * leaves the account and when it comes back.
 */
export const disputeTopics: ReadonlyMap<string, ToMade> = new Map<string, ToMade>([
  [
    'charge.dispute.created',
    toTopic({ name: 'Disputed Payment', toId: (id) => id, isFirst: true }),
  ],
  [
    'charge.dispute.updated',
    toTopic({ name: 'Updated Dispute', toId: (id, event) => `${id}:${event.id ?? 'updated'}` }),
  ],
  ['charge.dispute.closed', toTopic({ name: 'Closed Dispute', toId: (id) => `${id}:closed` })],
  ['charge.dispute.funds_withdrawn', toMoved('Dispute Funds Withdrawn', 'withdrawn')],
  ['charge.dispute.funds_reinstated', toMoved('Dispute Funds Reinstated', 'reinstated')],
]);

type DisputeTopic = {
  readonly name: string;
  readonly toId: (dispute: string, event: StripeEvent) => string;
  /** It happened when the dispute was opened. */
  readonly isFirst?: boolean;
  /** The amount counts. */
  readonly isMoney?: boolean;
};

function toMoved(name: string, way: 'withdrawn' | 'reinstated'): ToMade {
  return toTopic({
    name,
    toId: (id, { object }) => findMovement(object, way) ?? `${id}:${way}`,
    isMoney: true,
  });
}

/** The newest balance transaction of a direction: money may leave and come back more than once. */
function findMovement(dispute: JsonObject, way: 'withdrawn' | 'reinstated'): string | undefined {
  const movements = asList(dispute.balance_transactions).map(asObject);
  const sign = way === 'withdrawn' ? -1n : 1n;
  const id = readId(movements.findLast(({ amount }) => (asWhole(amount) ?? 0n) * sign > 0n)?.id);
  return id === undefined ? undefined : `${readId(dispute.id) ?? ''}:${id}`;
}

function toTopic({ name, toId, isFirst, isMoney }: DisputeTopic): ToMade {
  return (event: StripeEvent, rules: StripeRules): Made => {
    const { object } = event;
    const counted = readCounted(object, 'amount');
    if (counted.kind === 'none') return skip('no_amount');
    const id = readId(object.id);
    const money = counted.kind === 'read' ? counted.money : undefined;
    const isCounted = isMoney === true || counted.kind === 'unreadable';
    const facts: Parameters<typeof toEventEntry>[1] = {
      name,
      insertId: id === undefined ? undefined : toId(id, event),
      at: isFirst === true ? readTime(object.created) : undefined,
      ...(isCounted && { counted: counted satisfies CountedMoney }),
      properties: {
        Amount: money?.amount,
        Currency: money?.currency,
        Dispute: id,
        Reason: asText(object.reason),
        Status: asText(object.status),
        EvidenceDueBy: readTime(asObject(object.evidence_details).due_by),
      },
    };
    return { kind: 'entry', entry: toEventEntry(event, facts, rules) };
  };
}
