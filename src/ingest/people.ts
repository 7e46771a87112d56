import { z } from 'zod';
import { isGiven } from '../json/json.js';
import type { Fact } from '../model/fact.js';
import type { Slices } from '../slices.js';
import { toFactKey, type GetFacts } from './facts.js';
import { limits } from './limits.js';
import type { ToE164 } from './phone.js';
import { isEmail } from './schema.js';
import type { KnownPerson, Person, SourceEntry, SourcePost } from './source-entry.js';

/**
 * Completes entries with what this request and earlier ones say about the person: an order names its
 * buyer, and a refund names only the order. Facts keep the people by the names of orders, payments,
 * customers and users.
 */

/** Adds to an entry the identifiers that are known about its person. */
export type Complete = (entry: SourceEntry) => SourceEntry;

const personSchema = z.object({
  email: z.string().min(1).max(limits.emailChars).optional(),
  distinct_id: z.string().min(1).max(limits.externalIdChars).optional(),
  phone_number: z.string().min(1).max(limits.phoneNumberChars).optional(),
});

/** The facts about the people of a request. People without a valid identifier have none. */
export function toPersonFacts({ source, people }: SourcePost, toE164: ToE164): readonly Fact[] {
  return people.flatMap((known) => {
    const person = toValidPerson(known, toE164);
    if (person === null) return [];
    const key = toFactKey(source, 'person', known.key);
    return [{ kind: known.kind, key, value: JSON.stringify(person) }];
  });
}

/**
 * The valid identifiers of a person; null if there is none. An invalid identifier must not become a
 * fact: it would be added to every later entry of the person.
 */
function toValidPerson({ person, country }: KnownPerson, toE164: ToE164): Person | null {
  const { email, phone_number: phone, ...ids } = person;
  const e164 = phone === undefined ? null : toE164(phone, country);
  const valid = {
    ...ids,
    ...(email !== undefined && isEmail(email) && { email }),
    ...(e164 !== null && { phone_number: e164 }),
  };
  const parsed = personSchema.safeParse(valid);
  return parsed.success && Object.keys(parsed.data).length > 0 ? parsed.data : null;
}

/** Names that are looked up in one step. */
const keysPerStep = 100;

export type FoundPeople = {
  readonly complete: Complete;
  /** The people of the post, completed. */
  readonly people: readonly KnownPerson[];
};

export type LookupDeps = {
  readonly getFacts: GetFacts;
  readonly toE164: ToE164;
  readonly slices: Slices;
};

/** Looks up the names that the entries and the people of a post refer to. */
export async function findPeople(
  { source, entries, people }: SourcePost,
  { getFacts, toE164, slices }: LookupDeps,
): Promise<FoundPeople> {
  const known = new Map<string, Person>();
  const addKnown = (each: KnownPerson): void => {
    const person = toValidPerson(each, toE164);
    if (person !== null) known.set(each.key, person);
  };
  for (const each of people) {
    if (slices.isUsedUp()) await slices.startNext();
    if (!dependsOnFacts(each)) addKnown(each);
  }
  const needed = [...entries, ...people.map(toIncomplete)].flatMap(listNames);
  const keys = [...new Set(needed)].filter((key) => !known.has(key));
  for (let from = 0; from < keys.length; from += keysPerStep) {
    if (slices.isUsedUp()) await slices.startNext();
    const some = keys.slice(from, from + keysPerStep);
    const found = await getFacts(some.map((key) => toFactKey(source, 'person', key)));
    some.forEach((key, index) => {
      const person = parsePerson(found[index] ?? null);
      if (person !== null) known.set(key, person);
    });
  }
  const completed = people.map((each) => {
    const found = dependsOnFacts(each) ? findIdentifiers(toIncomplete(each), known) : undefined;
    return found === undefined ? each : { ...each, person: { ...each.person, ...found } };
  });
  for (const each of completed) {
    if (slices.isUsedUp()) await slices.startNext();
    if (dependsOnFacts(each)) addKnown(each);
  }
  const complete: Complete = (entry) => {
    const reachable = addRepeatedPhone(entry, toE164);
    const found = findIdentifiers(reachable, known);
    if (found === undefined) return reachable;
    return { ...reachable, entry: { ...reachable.entry, ...found } };
  };
  return { complete, people: completed };
}

/** Adds the repeated phone number. An unusable number is left out: the request that first had it keeps it as a property. */
function addRepeatedPhone(sourceEntry: SourceEntry, toE164: ToE164): SourceEntry {
  const { repeatedPhone, entry, warnings = [] } = sourceEntry;
  if (repeatedPhone === undefined) return sourceEntry;
  const number = toE164(repeatedPhone.number, repeatedPhone.country);
  if (number !== null) return { ...sourceEntry, entry: { ...entry, phone_number: number } };
  const detail = 'of the traits cannot be brought into E.164 form; the event goes without it';
  const warning = { code: 'phone_unusable', pointer: '/phone_number', detail };
  return { ...sourceEntry, warnings: [...warnings, warning] };
}

/** Returns true if known identifiers are added to the person. */
function dependsOnFacts({ personKeys, fallback, idKeys }: KnownPerson): boolean {
  return personKeys !== undefined || fallback !== undefined || idKeys !== undefined;
}

/** The members of an entry or of a person that decide which known identifiers are added. */
type Incomplete = Pick<SourceEntry, 'personKeys' | 'fallback' | 'idKeys'> & {
  readonly entry: { readonly [name in keyof Person]?: unknown };
};

function toIncomplete({ person, ...others }: KnownPerson): Incomplete {
  return { ...others, entry: person };
}

/** Returns false with an e-mail address or phone number of its own: added identifiers might be those of another person. */
function lacksContact({ entry }: Incomplete): boolean {
  return !isGiven(entry.email) && !isGiven(entry.phone_number);
}

/** The names to look up. */
function listNames(entry: Incomplete): readonly string[] {
  const { personKeys = [], idKeys = [] } = entry;
  return lacksContact(entry) ? [...personKeys, ...idKeys] : idKeys;
}

/** The known identifiers to add to those of the entry itself. */
function findIdentifiers(
  incomplete: Incomplete,
  known: ReadonlyMap<string, Person>,
): Person | undefined {
  const { entry, personKeys, fallback, idKeys } = incomplete;
  const find = (keys: readonly string[] = []): Person | undefined => {
    const key = keys.find((each) => known.has(each));
    return key === undefined ? undefined : known.get(key);
  };
  const id = find(idKeys)?.distinct_id;
  const person = lacksContact(incomplete) ? (find(personKeys) ?? fallback) : undefined;
  if (id === undefined && person === undefined) return undefined;
  const { distinct_id: knownId, ...others } = person ?? {};
  const distinctId = id ?? (isGiven(entry.distinct_id) ? undefined : knownId);
  return { ...others, ...(distinctId !== undefined && { distinct_id: distinctId }) };
}

function parsePerson(value: string | null): Person | null {
  if (value === null) return null;
  return personSchema.safeParse(JSON.parse(value)).data ?? null;
}
