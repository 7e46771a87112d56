import { isJsonObject, stringifyJson, type JsonObject } from '../../src/json/json.js';
import { makeUpdate, type MadeEvent, type MadeUpdate, type Person } from './seeded-load.js';

// The JSON that Klaviyo must hold for posted entries, written independently of src/ingest.

/** `time`: the time that the relay stamped if the event had none. */
export function toExpectedEvent(posted: MadeEvent, time: string): JsonObject {
  const { value, currency } = posted;
  const attributes = {
    properties: toExpectedProperties(posted),
    time: posted.event_time ?? time,
    ...(value !== undefined && { value }),
    ...(value !== undefined && currency && { value_currency: currency.toUpperCase() }),
    unique_id: posted.insert_id,
    metric: { data: { type: 'metric', attributes: { name: posted.event_name } } },
    ...(isBackfilled(posted) && { backfill: true }),
  };
  return {
    type: 'event-bulk-create',
    attributes: {
      profile: { data: { type: 'profile', attributes: toIdentifiers(posted) } },
      events: { data: [{ type: 'event', attributes }] },
    },
  };
}

/** The expected event in the form of the sandbox's state. */
export function toExpectedView(posted: MadeEvent, time: string): JsonObject {
  const { value, currency } = posted;
  return {
    metric: posted.event_name,
    time: posted.event_time ?? time,
    value: value ?? null,
    currency: value === undefined ? null : (currency?.toUpperCase() ?? null),
    properties: toExpectedProperties(posted),
    person: toIdentifiers(posted),
    backfill: isBackfilled(posted),
  };
}

/** Events of the seeded load are new or years old; none is near BACKFILL_AFTER. */
const isBackfilled = ({ event_time }: MadeEvent): boolean => event_time !== undefined;

function toExpectedProperties(posted: MadeEvent): JsonObject {
  const { value, order_id, total_amount, currency } = posted;
  return {
    ...posted.properties,
    ...(value !== undefined && { $value: value }),
    ...(order_id !== undefined && { order_id }),
    ...(total_amount !== undefined && { total_amount }),
    ...(currency !== undefined && { currency: currency.toUpperCase() }),
  };
}

export function toIdentifiers({
  email,
  phone_number,
  distinct_id,
  anonymous_id,
}: Person): JsonObject {
  return {
    ...(email !== undefined && { email }),
    ...(phone_number !== undefined && { phone_number }),
    ...(distinct_id !== undefined && { external_id: distinct_id }),
    ...(anonymous_id !== undefined && { anonymous_id }),
  };
}

/** The payload of a bad update's dead letter; it has no other fields. */
export function toExpectedBadUpdate(posted: MadeUpdate): JsonObject {
  const { first_name, person, step, mark, favourite } = posted;
  const properties = { person, step, mark, favourite };
  return { type: 'profile', attributes: { ...toIdentifiers(posted), first_name, properties } };
}

/** The profile after `steps` updates: the newest value of each field wins, a null clears it, and bad updates change nothing. */
export function toExpectedProfile(seed: number, person: Person, of: Updates): JsonObject {
  const own = new Map<string, unknown>(Object.entries(toIdentifiers(person)));
  const nested = { location: new Map<string, unknown>(), properties: new Map<string, unknown>() };
  for (let step = 0; step < of.steps; step++) {
    const { first_name, last_name, location, properties, ...others } = makeUpdate(
      seed,
      of.number,
      step,
    );
    if (others.mark !== 'good') continue;
    const { person: number, step: at, mark, favourite, plan } = others;
    apply(own, { first_name, last_name });
    apply(nested.location, { ...location });
    apply(nested.properties, { ...properties, person: number, step: at, mark, favourite, plan });
  }
  for (const [name, members] of Object.entries(nested)) {
    if (members.size > 0) own.set(name, Object.fromEntries(members));
  }
  return Object.fromEntries(own);
}

export type Updates = {
  /** Number of the person. */
  readonly number: number;
  readonly steps: number;
};

function apply(fields: Map<string, unknown>, update: JsonObject): void {
  for (const [name, value] of Object.entries(update)) {
    if (value === null) fields.delete(name);
    else if (value !== undefined) fields.set(name, value);
  }
}

/** The JSON text after JSON.parse, as the sandbox reads it: JavaScript rounds long integers. */
export function toReadText(value: unknown): string {
  return JSON.stringify(JSON.parse(stringifyJson(value)));
}

/** Sorts the fields of a profile, of `properties` and of `location`; the values below are compared as text. */
export function toProfileText(attributes: JsonObject): string {
  return toSorted(attributes, (value) => {
    return isJsonObject(value) ? toSorted(value, toReadText) : toReadText(value);
  });
}

function toSorted(object: JsonObject, toText: (value: unknown) => string): string {
  const names = Object.keys(object).sort();
  return `{${names.map((name) => `${JSON.stringify(name)}:${toText(object[name])}`).join(',')}}`;
}
