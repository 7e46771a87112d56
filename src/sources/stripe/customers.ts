import { limits } from '../../ingest/limits.js';
import type { JsonObject } from '../../json/json.js';
import { asList, asObject, asText, compact } from '../json.js';
import { readMetadata, type StripeEvent, type StripeRules, type TopicResult } from './event.js';
import { identifyStripePerson } from './people.js';

/** Maps customer.created and customer.updated to a profile. Klaviyo keeps a field that was cleared in Stripe. */
export function mapStripeCustomer(
  { object, account }: StripeEvent,
  rules: StripeRules,
): TopicResult {
  const { person, idKeys } = identifyStripePerson(object, account, rules);
  const shipping = asObject(object.shipping);
  const address = readStripeLocation(object.address) ?? readStripeLocation(shipping.address);
  const parcels = describeShipping(shipping);
  const properties = { ...readMetadata(object.metadata), ...(parcels && { shipping: parcels }) };
  const entry = compact({
    ...person,
    ...splitFullName(asText(object.individual_name) ?? asText(object.name)),
    organization: asText(object.business_name),
    locale: asText(asList(object.preferred_locales)[0]),
    location: address,
    properties: Object.keys(properties).length === 0 ? undefined : properties,
  });
  return { kind: 'entry', entry: { lane: 'profiles', entry, ...(idKeys && { idKeys }) } };
}

/** Splits Stripe's single name: the first word becomes the first name. A name that is too long stays whole. */
function splitFullName(name: string | undefined): JsonObject {
  if (name !== undefined && name.length > limits.nameChars) return { first_name: name };
  const [first, ...others] = name?.trim().split(/\s+/) ?? [];
  return { first_name: first, last_name: others.length === 0 ? undefined : others.join(' ') };
}

function readStripeLocation(value: unknown): JsonObject | undefined {
  const address = asObject(value);
  const location = compact({
    address1: asText(address.line1),
    address2: asText(address.line2),
    city: asText(address.city),
    region: asText(address.state),
    zip: asText(address.postal_code),
    country: asText(address.country),
  });
  return Object.keys(location).length === 0 ? undefined : location;
}

/** The recipient and address of shipments, as a property. The phone number may belong to another person. */
function describeShipping(shipping: JsonObject): JsonObject | undefined {
  const parts = compact({
    name: asText(shipping.name),
    phone: asText(shipping.phone),
    ...readStripeLocation(shipping.address),
  });
  return Object.keys(parts).length === 0 ? undefined : parts;
}
