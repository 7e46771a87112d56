import { mapPostedLanes, type PostedLane } from '../model/lane.js';
import { locationFields, postedSchemas } from '../ingest/schema.js';
import { consentDateNames, consentNames } from './consents.js';
import { fold } from './fold.js';

/** The name of a field, or the name of an object and a name in it. */
export type Path = readonly [string] | readonly [string, string];

/** The lanes whose entries a file can have. */
export const importLanes = [
  'events',
  'profiles',
  'subscribe',
] as const satisfies readonly PostedLane[];
export type ImportLane = (typeof importLanes)[number];

/** The field of a posted entry that `--time-format` and `--timezone` are for. */
export const timeFields: Readonly<Record<ImportLane, string | null>> = {
  events: 'event_time',
  profiles: null,
  subscribe: 'consented_at',
};

/** Fields that no cell has a value for, so a column with such a name is a property. */
const structuredFields: readonly string[] = [
  'append',
  'unappend',
  'unset',
  'lists',
  'remove_from_lists',
];

/** Fields of a subscription that are made from the fields of the consents. */
const derivedFields: readonly string[] = ['channels', 'historical', 'consented_at'];

const fields = mapPostedLanes((lane): readonly string[] => {
  const names = Object.keys(postedSchemas[lane].shape);
  return lane === 'subscribe'
    ? [
        ...names.filter((name) => !derivedFields.includes(name)),
        ...consentNames,
        ...consentDateNames,
      ]
    : names.filter((name) => !structuredFields.includes(name));
});

/** Fields that hold an object. */
export const objectFields: readonly string[] = ['properties', 'location'];

export function isField(name: string, lane: ImportLane): boolean {
  return fields[lane].includes(name);
}

/** Other names that can only mean one field. */
const synonyms = new Map([['emailaddress', 'email']]);

/**
 * Returns the field that a header means, or null. A header means a field if both are equal when folded. Fields
 * that hold an object have no other spelling, because a column Location is the name of a place.
 */
export function findField(header: string, lane: ImportLane): string | null {
  if (isField(header, lane)) return header;
  const folded = fold(header);
  const name = synonyms.get(folded);
  const candidates = fields[lane].filter((field) => !objectFields.includes(field));
  return candidates.find((field) => fold(field) === folded || field === name) ?? null;
}

/** Finds the field for a name given by the user, such as `email`, `properties.color` or `location.city`. Returns null if there is no such field. */
export function findPath(name: string, lane: ImportLane): Path | null {
  const [, object, part] = /^(properties|location)\.(.+)$/s.exec(name) ?? [];
  if (object === undefined || part === undefined) return isField(name, lane) ? [name] : null;
  if (lane === 'subscribe') return null;
  if (object === 'properties') return [object, part];
  return lane === 'profiles' && locationFields.includes(part) ? [object, part] : null;
}

/** The field names that `findPath` accepts. They are suggested for misspelt names. */
export function listFieldNames(lane: ImportLane): readonly string[] {
  if (lane !== 'profiles') return fields[lane];
  return [...fields.profiles, ...locationFields.map((name) => `location.${name}`)];
}

/**
 * The path of a column that is not a field: a property. Null if the entries of the lane have no
 * properties.
 */
export function toPropertyPath(header: string, lane: ImportLane): Path | null {
  if (lane === 'subscribe') return null;
  const [, object, part] = /^(properties|location)\.(.+)$/s.exec(header) ?? [];
  if (object !== undefined && part !== undefined) {
    if (object === 'properties' || lane === 'profiles') return [object, part];
  }
  const isNested = lane === 'events' || structuredFields.includes(header);
  return isNested ? ['properties', header] : [header];
}
