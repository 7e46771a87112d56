import { hash } from 'node:crypto';
import { z } from 'zod';
import type { Fact } from '../envelope.js';
import type { Slices } from '../turns.js';
import { limits } from './limits.js';
import type { Person, Source, SourcedEntry, SourcedPost } from './source-entry.js';

/** The value of each key, in order; null where none is known. */
export type GetFacts = (keys: readonly string[]) => Promise<readonly (string | null)[]>;

/** Completes entries with what this request and earlier ones told of the person. */
export type Complete = (entry: SourcedEntry) => SourcedEntry;

const personSchema = z.object({
  email: z.string().min(1).max(limits.emailChars).optional(),
  distinct_id: z.string().min(1).max(limits.externalIdChars).optional(),
  phone_number: z.string().min(1).max(limits.phoneNumberChars).optional(),
});

/** The key of a fact for a name of any length and content: short, and without the name. */
export function toFactKey(source: Source, kind: 'person' | 'delivery', name: string): string {
  return hash('sha256', `${source}\n${kind}\n${name}`, 'base64url');
}

/** The facts to keep of a request. People without a valid identifier are skipped. */
export function toFacts({ source, people }: SourcedPost): readonly Fact[] {
  return people.flatMap(({ kind, key, person }) => {
    const parsed = personSchema.safeParse(person);
    if (!parsed.success || Object.keys(parsed.data).length === 0) return [];
    return [{ kind, key: toFactKey(source, 'person', key), value: JSON.stringify(parsed.data) }];
  });
}

/** Names that are looked up in one go. */
const keysPerStep = 100;

/** Looks up everybody the entries ask for. */
export async function findPeople(
  { source, entries, people }: SourcedPost,
  getFacts: GetFacts,
  slices: Slices,
): Promise<Complete> {
  const here = new Map(people.map(({ key, person }) => [key, person]));
  const asked = entries.filter(isIncomplete).flatMap(({ personKeys = [] }) => personKeys);
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
function isIncomplete({ entry }: SourcedEntry): boolean {
  return !isGiven(entry.email) && !isGiven(entry.phone_number);
}

function complete(entry: SourcedEntry, known: ReadonlyMap<string, Person>): SourcedEntry {
  if (!isIncomplete(entry)) return entry;
  const key = entry.personKeys?.find((each) => known.has(each));
  const person = key === undefined ? undefined : known.get(key);
  if (person === undefined) return entry;
  const own = entry.entry.distinct_id;
  return {
    ...entry,
    entry: { ...entry.entry, ...person, ...(isGiven(own) && { distinct_id: own }) },
  };
}

function toPerson(value: string | null): Person | null {
  if (value === null) return null;
  return personSchema.safeParse(JSON.parse(value)).data ?? null;
}

function isGiven(value: unknown): boolean {
  return value !== null && value !== undefined;
}
