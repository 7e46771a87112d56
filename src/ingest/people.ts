import { hash } from 'node:crypto';
import { z } from 'zod';
import type { Fact } from '../model/fact.js';
import type { Slices } from '../slices.js';
import { limits } from './limits.js';
import type { ToE164 } from './phone.js';
import { isEmail } from './schema.js';
import type { KnownPerson, Person, SourceEntry, SourcePost } from './source-entry.js';

/** Where what is remembered is kept: a store. */
export type GetFacts = (keys: readonly string[]) => Promise<readonly (string | null)[]>;

/** Completes entries with what this request and earlier ones told of the person. */
export type Complete = (entry: SourceEntry) => SourceEntry;

const personSchema = z.object({
  email: z.string().min(1).max(limits.emailChars).optional(),
  distinct_id: z.string().min(1).max(limits.externalIdChars).optional(),
  phone_number: z.string().min(1).max(limits.phoneNumberChars).optional(),
});

/** The key of a fact for a name of any length and content: short, and without personal data. */
export function toFactKey(
  source: string,
  kind: 'person' | 'delivery' | 'ledger' | 'device',
  name: string,
): string {
  return hash('sha256', `${source}\n${kind}\n${name}`, 'base64url');
}

/** What to keep of a request. */
export function toFacts({ source, people }: SourcePost, toE164: ToE164): readonly Fact[] {
  return people.flatMap((known) => {
    const person = toValidPerson(known, toE164);
    if (person === null) return [];
    const key = toFactKey(source, 'person', known.key);
    return [{ kind: known.kind, key, value: JSON.stringify(person) }];
  });
}

/**
 * An identifier that is not valid is left out: it would come back with every later entry of the person.
 * People without a valid identifier are skipped.
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

/** Names that are looked up in one go. */
const keysPerStep = 100;

export type FoundPeople = {
  readonly complete: Complete;
  /** Those of the post, completed. */
  readonly people: readonly KnownPerson[];
};

export type Finding = {
  readonly getFacts: GetFacts;
  readonly toE164: ToE164;
  readonly slices: Slices;
};

/** Looks up everybody the entries and the people of a post ask for. */
export async function findPeople(
  { source, entries, people }: SourcePost,
  { getFacts, toE164, slices }: Finding,
): Promise<FoundPeople> {
  const known = new Map<string, Person>();
  const keep = (each: KnownPerson): void => {
    const person = toValidPerson(each, toE164);
    if (person !== null) known.set(each.key, person);
  };
  for (const each of people) {
    if (slices.isUsedUp()) await slices.startNext();
    if (!isCompleted(each)) keep(each);
  }
  const asked = [...entries, ...people.map(toAsked)].flatMap(toLookedUp);
  const keys = [...new Set(asked)].filter((key) => !known.has(key));
  for (let from = 0; from < keys.length; from += keysPerStep) {
    if (slices.isUsedUp()) await slices.startNext();
    const some = keys.slice(from, from + keysPerStep);
    const found = await getFacts(some.map((key) => toFactKey(source, 'person', key)));
    some.forEach((key, index) => {
      const person = toPerson(found[index] ?? null);
      if (person !== null) known.set(key, person);
    });
  }
  const completed = people.map((each) => {
    const found = isCompleted(each) ? findIdentifiers(toAsked(each), known) : undefined;
    return found === undefined ? each : { ...each, person: { ...each.person, ...found } };
  });
  for (const each of completed) {
    if (slices.isUsedUp()) await slices.startNext();
    if (isCompleted(each)) keep(each);
  }
  const complete: Complete = (entry) => {
    const reachable = addPhone(entry, toE164);
    const found = findIdentifiers(reachable, known);
    if (found === undefined) return reachable;
    return { ...reachable, entry: { ...reachable.entry, ...found } };
  };
  return { complete, people: completed };
}

/** A number that is none is left out: the request in which the person gave it has it as a property. */
function addPhone(sourceEntry: SourceEntry, toE164: ToE164): SourceEntry {
  const { repeatedPhone, entry, warnings = [] } = sourceEntry;
  if (repeatedPhone === undefined) return sourceEntry;
  const number = toE164(repeatedPhone.number, repeatedPhone.country);
  if (number !== null) return { ...sourceEntry, entry: { ...entry, phone_number: number } };
  const detail = 'of the traits cannot be brought into E.164 form; the event goes without it';
  const warning = { code: 'phone_unusable', pointer: '/phone_number', detail };
  return { ...sourceEntry, warnings: [...warnings, warning] };
}

/** Whether what others know of the person is added. */
function isCompleted({ personKeys, fallback, idKeys }: KnownPerson): boolean {
  return personKeys !== undefined || fallback !== undefined || idKeys !== undefined;
}

/** What of an entry, or of a person who is told, decides whom it is about. */
type Incomplete = Pick<SourceEntry, 'personKeys' | 'fallback' | 'idKeys'> & {
  readonly entry: { readonly [name in keyof Person]?: unknown };
};

function toAsked({ person, ...others }: KnownPerson): Incomplete {
  return { ...others, entry: person };
}

/** An address or number of its own names somebody; joined to others it might name two. */
function isIncomplete({ entry }: Incomplete): boolean {
  return !isGiven(entry.email) && !isGiven(entry.phone_number);
}

function toLookedUp(entry: Incomplete): readonly string[] {
  const { personKeys = [], idKeys = [] } = entry;
  return isIncomplete(entry) ? [...personKeys, ...idKeys] : idKeys;
}

/** The identifiers to add to those of the entry itself, from what others told of the person. */
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
  const person = isIncomplete(incomplete) ? (find(personKeys) ?? fallback) : undefined;
  if (id === undefined && person === undefined) return undefined;
  const { distinct_id: knownId, ...others } = person ?? {};
  const distinctId = id ?? (isGiven(entry.distinct_id) ? undefined : knownId);
  return { ...others, ...(distinctId !== undefined && { distinct_id: distinctId }) };
}

function toPerson(value: string | null): Person | null {
  if (value === null) return null;
  return personSchema.safeParse(JSON.parse(value)).data ?? null;
}

function isGiven(value: unknown): boolean {
  return value !== null && value !== undefined;
}
