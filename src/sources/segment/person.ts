import type { JsonObject } from '../../json.js';
import { asId, asObject, asText, compact } from '../json.js';
import type { SegmentCall } from './calls.js';
import type { Person } from '../../ingest/source-entry.js';

/**
 * Whom a call is about. SDKs put the address of an identify call into `traits` or `context.traits`, and
 * that of others into `context.traits` or, if the caller chose to, into `properties`
 * (upstream-contracts 4.2). The first place with an address or a number is believed alone: joined to
 * another's it might name two. `anonymousId` is a browser, not a customer, and left out.
 */
export function toPerson(call: SegmentCall): Person {
  const { fields, context } = call;
  const places =
    call.type === 'identify'
      ? [toTraits(call)]
      : [asObject(context.traits), asObject(fields.traits), asObject(fields.properties)];
  const reached = places.map(toReach).find((reach) => Object.keys(reach).length > 0);
  return compact({ distinct_id: toUserId(call), ...reached });
}

/** Of an identify call: what stands beside it wins over its context. */
export function toTraits({ fields, context }: SegmentCall): JsonObject {
  return { ...asObject(context.traits), ...asObject(fields.traits) };
}

/** As text, whatever kind of scalar it is: both gateways take them all. */
export function toUserId({ fields: { userId } }: SegmentCall): string | undefined {
  return typeof userId === 'boolean' ? String(userId) : asId(userId);
}

export function isAnonymous({ fields }: SegmentCall, person: Person): boolean {
  return Object.keys(person).length === 0 && asId(fields.anonymousId) !== undefined;
}

function toReach({ email, phone }: JsonObject): Person {
  return compact({ email: asText(email), phone_number: asId(phone) });
}
