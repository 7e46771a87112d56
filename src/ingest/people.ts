import { hash } from 'node:crypto';
import { z } from 'zod';
import type { Fact } from '../envelope.js';
import type { Slices } from '../turns.js';
import { limits } from './limits.js';
import type { ToE164 } from './phone.js';
import { isEmail } from './schema.js';
import type { Person, SourceEntry, SourcePost } from './source-entry.js';

/** Where what is remembered is kept: a store. */
export type GetFacts = (keys: readonly string[]) => Promise<readonly (string | null)[]>;

/** Completes entries with what this request and earlier ones told of the person. */
export type Complete = (entry: SourceEntry) => SourceEntry;

const personSchema = z.object({
  email: z.string().min(1).max(limits.emailChars).optional(),
  distinct_id: z.string().min(1).max(limits.externalIdChars).optional(),
  phone_number: z.string().min(1).max(limits.phoneNumberChars).optional(),
});

/** A name of any length and content as a key of a memo: short, and telling nobody. */
export function toFactKey(source: string, kind: 'person' | 'delivery', name: string): string {
  return hash('sha256', `${source}\n${kind}\n${name}`, 'base64url');
}

/**
 * What to keep of a request. An identifier that is not valid is left out: it would come back with every
 * later entry of the person. People without a valid identifier are skipped.
 */
export function toFacts({ source, people }: SourcePost, toE164: ToE164): readonly Fact[] {
  return people.flatMap(({ kind, key, person }) => {
    const { email, phone_number: phone, ...ids } = person;
    const valid = {
      ...ids,
      ...(email !== undefined && isEmail(email) && { email }),
      ...(phone !== undefined && toE164(phone) !== null && { phone_number: phone }),
    };
    const parsed = personSchema.safeParse(valid);
    if (!parsed.success || Object.keys(parsed.data).length === 0) return [];
    return [{ kind, key: toFactKey(source, 'person', key), value: JSON.stringify(parsed.data) }];
  });
}

/** Names that are looked up in one go. */
const keysPerStep = 100;

/** Looks up everybody the entries ask for. */
export async function findPeople(
  { source, entries, people }: SourcePost,
  getFacts: GetFacts,
  slices: Slices,
): Promise<Complete> {
  const here = new Map(people.map(({ key, person }) => [key, person]));
  const asked = entries.flatMap(toLookedUp);
  const keys = [...new Set(asked)].filter((key) => !here.has(key));
  const known = new Map(here);
  for (let from = 0; from < keys.length; from += keysPerStep) {
    if (slices.isOver()) await slices.next();
    const some = keys.slice(from, from + keysPerStep);
    const found = await getFacts(some.map((key) => toFactKey(source, 'person', key)));
    some.forEach((key, index) => {
      const person = toPerson(found[index] ?? null);
      if (person !== null) known.set(key, person);
    });
  }
  return (entry) => complete(entry, known);
}

/** An address or number of its own names somebody; joined to others it might name two. */
function isIncomplete({ entry }: SourceEntry): boolean {
  return !isGiven(entry.email) && !isGiven(entry.phone_number);
}

function toLookedUp(entry: SourceEntry): readonly string[] {
  const { personKeys = [], idKeys = [] } = entry;
  return isIncomplete(entry) ? [...personKeys, ...idKeys] : idKeys;
}

function complete(entry: SourceEntry, known: ReadonlyMap<string, Person>): SourceEntry {
  const find = (keys: readonly string[] = []): Person | undefined => {
    const key = keys.find((each) => known.has(each));
    return key === undefined ? undefined : known.get(key);
  };
  const id = find(entry.idKeys)?.distinct_id;
  const person = isIncomplete(entry) ? (find(entry.personKeys) ?? entry.fallback) : undefined;
  if (id === undefined && person === undefined) return entry;
  const distinctId = id ?? entry.entry.distinct_id;
  return {
    ...entry,
    entry: {
      ...entry.entry,
      ...person,
      ...(isGiven(distinctId) && { distinct_id: distinctId }),
    },
  };
}

function toPerson(value: string | null): Person | null {
  if (value === null) return null;
  return personSchema.safeParse(JSON.parse(value)).data ?? null;
}

function isGiven(value: unknown): boolean {
  return value !== null && value !== undefined;
}
