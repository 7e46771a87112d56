import { isEmail } from '../../ingest/schema.js';
import type { Device, Person, SourceEntry } from '../../ingest/source-entry.js';
import { hash } from 'node:crypto';
import type { JsonObject } from '../../json/json.js';
import { limits } from '../../ingest/limits.js';
import { asId, asList, asObject, asText, compact } from '../json.js';
import type { SegmentCall } from './calls.js';

/**
 * Identifies the person of a call. Traits describe the user, so they are joined to the userId. Properties
 * describe the event: an e-mail address there may belong to another person (an invitation), so it is used
 * last and alone, and a phone number there is not an identifier.
 */

/** Reads the identifiers that belong together according to the call. */
export function readCallPerson(call: SegmentCall): Person {
  const { email, phone } = findContact(call);
  const userId = readUserId(call);
  const address = parseEmailUserId(userId);
  // A userId that is the e-mail address is not used as an id: the person may get a real id later.
  const isAddress =
    address !== undefined && (email === undefined || isSameEmailAddress(address, email));
  return compact({
    email: email ?? (phone === undefined ? undefined : address),
    distinct_id: isAddress ? undefined : userId,
    phone_number: phone,
  });
}

/** The members of an entry by which the pipeline identifies its person. `person` goes into the entry itself. */
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

/** Merges the traits of a call. Its own traits override those of its context. */
export function mergeTraits({ fields, context }: SegmentCall): JsonObject {
  return { ...readExternalIds(context), ...asObject(context.traits), ...asObject(fields.traits) };
}

/** Reads the userId as text. Both gateways accept any scalar. */
export function readUserId({ fields: { userId }, context }: SegmentCall): string | undefined {
  if (typeof userId === 'boolean') return String(userId);
  return asId(userId) ?? asId(readExternalIds(context).userId);
}

/** The key under which the user of an identify call is kept. */
export function userPersonKey(userId: string): string {
  return `user:${parseEmailUserId(userId)?.toLowerCase() ?? userId}`;
}

/** Reads the anonymousId. One that is too long is replaced by its hash, which is the same in each call. */
export function readDevice({ fields: { anonymousId } }: SegmentCall): Device | undefined {
  const id = asId(anonymousId);
  if (id === undefined || id.length <= limits.anonymousIdChars)
    return id === undefined ? id : { id };
  return { id: hash('sha256', id, 'base64url') };
}

/** Finds the name or code of the country in the traits. */
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

/** Reads e-mail address and number from the first place that has one. Two places might name two people. */
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

/** Reads the identifiers in `context.externalId`, where RudderStack's reverse ETL puts them. */
function readExternalIds({ externalId, mappedToDestination }: JsonObject): JsonObject {
  if (mappedToDestination === undefined || mappedToDestination === null) return {};
  const named = asList(externalId).map((each) => {
    const { id, identifierType } = asObject(each);
    return [asText(identifierType) ?? '', id] as const;
  });
  const { email, phone, phone_number: number, external_id: id, userId } = Object.fromEntries(named);
  return compact({ email, phone: phone ?? number, userId: userId ?? id });
}
