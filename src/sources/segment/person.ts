import { isEmail } from '../../ingest/schema.js';
import type { Device, Person, SourceEntry } from '../../ingest/source-entry.js';
import { hash } from 'node:crypto';
import type { JsonObject } from '../../json/json.js';
import { limits } from '../../ingest/limits.js';
import { asId, asList, asObject, asText, compact } from '../json.js';
import type { SegmentCall } from './calls.js';

/**
 * Whom a call is about. The traits of a call are those of its user, so they are joined to the userId.
 * Properties are of the event: an e-mail address there may be another person's (an invitation), so it
 * comes last and alone, and a phone number there is no identifier.
 */

/** Identifiers that belong together by the word of the source. */
export function readCallPerson(call: SegmentCall): Person {
  const { email, phone } = findContact(call);
  const userId = readUserId(call);
  const address = parseEmailUserId(userId);
  // A userId that is the address is no id beside it: the same person may have a real one later.
  const isAddress =
    address !== undefined && (email === undefined || isSameEmailAddress(address, email));
  return compact({
    email: email ?? (phone === undefined ? undefined : address),
    distinct_id: isAddress ? undefined : userId,
    phone_number: phone,
  });
}

/** What an entry of the call has beside the identifiers, for the pipeline to find out who it is. */
export type CallIdentity = Pick<
  SourceEntry,
  'personKeys' | 'fallback' | 'lastResort' | 'repeatedPhone' | 'device'
> & { readonly person: Person };

export function identifyCallPerson(call: SegmentCall, isRemembered: boolean): CallIdentity {
  const person = readCallPerson(call);
  const userId = readUserId(call);
  const device = readDevice(call);
  const address = parseEmailUserId(userId);
  const { phone_number: number, ...others } = person;
  const isBesideOthers = Object.keys(others).length > 0 || device !== undefined;
  const email = asText(asObject(call.fields.properties).email)?.trim();
  const isLast = address === undefined && email !== undefined && isEmail(email);
  return {
    person: isBesideOthers ? others : person,
    ...(userId !== undefined && isRemembered && { personKeys: [userPersonKey(userId)] }),
    ...(address !== undefined && person.email === undefined && { fallback: { email: address } }),
    ...(isLast && { lastResort: email }),
    ...(isBesideOthers &&
      number !== undefined && { repeatedPhone: { number, country: findCountry(call) } }),
    ...(device !== undefined && { device }),
  };
}

/** Of an identify call: what stands beside it wins over its context. */
export function mergeTraits({ fields, context }: SegmentCall): JsonObject {
  return { ...readExternalIds(context), ...asObject(context.traits), ...asObject(fields.traits) };
}

/** As text, whatever kind of scalar it is: both gateways take them all. */
export function readUserId({ fields: { userId }, context }: SegmentCall): string | undefined {
  if (typeof userId === 'boolean') return String(userId);
  return asId(userId) ?? asId(readExternalIds(context).userId);
}

/** The key of what an identify call says of a user. */
export function userPersonKey(userId: string): string {
  return `user:${parseEmailUserId(userId)?.toLowerCase() ?? userId}`;
}

/** A longer anonymousId must stay the same one in each call. */
export function readDevice({ fields: { anonymousId } }: SegmentCall): Device | undefined {
  const id = asId(anonymousId);
  if (id === undefined || id.length <= limits.anonymousIdChars)
    return id === undefined ? id : { id };
  return { id: hash('sha256', id, 'base64url') };
}

/** Name or code of the country that the traits give. */
export function findCountry(call: SegmentCall): string | undefined {
  return listTraitPlaces(call)
    .map((traits) => asText(asObject(traits.address).country) ?? asText(traits.country))
    .find((country) => country !== undefined);
}

function parseEmailUserId(userId: string | undefined): string | undefined {
  const text = userId?.trim();
  return text !== undefined && isEmail(text) ? text : undefined;
}

function isSameEmailAddress(one: string, other: string): boolean {
  return one.trim().toLowerCase() === other.trim().toLowerCase();
}

/** The first place with an address or a number is believed alone: joined to another's it might name two. */
function findContact(call: SegmentCall) {
  const reached = listTraitPlaces(call).map((traits) => ({
    email: asText(traits.email),
    phone: asId(traits.phone) ?? asId(traits.phone_number),
  }));
  const first = reached.find(({ email, phone }) => email !== undefined || phone !== undefined);
  return first ?? { email: undefined, phone: undefined };
}

function listTraitPlaces(call: SegmentCall): readonly JsonObject[] {
  if (call.type === 'identify') return [mergeTraits(call)];
  return [asObject(call.context.traits), asObject(call.fields.traits)];
}

/** RudderStack's reverse ETL names the person in `context.externalId`. */
function readExternalIds({ externalId, mappedToDestination }: JsonObject): JsonObject {
  if (mappedToDestination === undefined || mappedToDestination === null) return {};
  const named = asList(externalId).map((each) => {
    const { id, identifierType } = asObject(each);
    return [asText(identifierType) ?? '', id] as const;
  });
  const { email, phone, phone_number: number, external_id: id, userId } = Object.fromEntries(named);
  return compact({ email, phone: phone ?? number, userId: userId ?? id });
}
