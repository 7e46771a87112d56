import type { JsonObject } from '../../json/json.js';
import type { ConsentRules } from './consent.js';

/** Rules for properties, by their names directly under `properties`. */
export type PropertyRules = {
  /** Null: all of them. */
  readonly include: readonly string[] | null;
  readonly exclude: readonly string[];
  /** New names by old ones. */
  readonly rename: Readonly<Record<string, string>>;
};

/** The rules of a mapping file for one source. Metrics have the names that the map of the source gives them. */
export type SourceMapping = {
  /** False: the topic is off. */
  readonly topics: Readonly<Record<string, boolean>>;
  /** False: the metric is off. Text: its new name. */
  readonly metrics: Readonly<Record<string, boolean | string>>;
  readonly properties: PropertyRules;
  readonly events: Readonly<Record<string, PropertyRules>>;
  /** Null: no consent is passed on. */
  readonly consent: ConsentRules | null;
};

/**
 * Rules in the order in which they apply: the first that names a property decides. A list of properties
 * to include decides about every property.
 */
export type Levels = readonly PropertyRules[];

export function listLevels({ properties, events }: SourceMapping, metric: string): Levels {
  const own = findOwn(events, metric);
  return own === undefined ? [properties] : [own, properties];
}

/** The own member of an object, never an inherited one such as `constructor`. */
export function findOwn<T>(map: Readonly<Record<string, T>>, name: string): T | undefined {
  return Object.hasOwn(map, name) ? map[name] : undefined;
}

export function isPropertyKept(levels: Levels, name: string): boolean {
  for (const { include, exclude } of levels) {
    if (exclude.includes(name)) return false;
    if (include !== null) return include.includes(name);
  }
  return true;
}

export function findNewName(levels: Levels, name: string): string {
  for (const { rename } of levels) {
    const renamed = findOwn(rename, name);
    if (renamed !== undefined) return renamed;
  }
  return name;
}

/**
 * Drops and renames properties. A property keeps its name if its new name belongs to another property or
 * to a field that becomes a property (`reserved`), so that a rename never loses a value.
 */
export function shapeProperties(
  properties: JsonObject,
  levels: Levels,
  reserved: readonly string[] = [],
): JsonObject {
  const kept = Object.entries(properties).filter(([name]) => isPropertyKept(levels, name));
  const names = new Set([...kept.map(([name]) => name), ...reserved]);
  return Object.fromEntries(
    kept.map(([name, value]) => {
      const wanted = findNewName(levels, name);
      return [names.has(wanted) ? name : wanted, value];
    }),
  );
}

export type Contradiction = {
  readonly path: readonly (string | number)[];
  readonly detail: string;
};

/** Finds rules that contradict each other, or that would give two properties or metrics one name. */
export function findMappingContradictions(mapping: SourceMapping): readonly Contradiction[] {
  const { properties, events } = mapping;
  return [
    ...findMetricContradictions(mapping),
    ...prefixPaths(['properties'], findPropertyContradictions(properties, [properties])),
    ...Object.entries(events).flatMap(([metric, own]) => [
      ...prefixPaths(['events', metric], findEventRuleContradictions(metric, mapping)),
      ...prefixPaths(['events', metric], findPropertyContradictions(own, [own, properties])),
    ]),
  ];
}

/** Two metrics under one name: an event is identified by its metric and id, so one could pass for a repetition of the other. */
function findMetricContradictions({ metrics }: SourceMapping): readonly Contradiction[] {
  const called = (metric: string): boolean | string =>
    metrics[metric] === true ? metric : (metrics[metric] ?? false);
  return Object.keys(metrics).flatMap((metric) => {
    const name = called(metric);
    const other = Object.keys(metrics).find((each) => each !== metric && called(each) === name);
    if (name === false || other === undefined) return [];
    return [{ path: ['metrics', metric], detail: `would have the same name as ${quote(other)}` }];
  });
}

function findEventRuleContradictions(
  metric: string,
  { metrics }: SourceMapping,
): readonly Contradiction[] {
  if (metrics[metric] === false) return [{ path: [], detail: 'is turned off under metrics' }];
  const original = Object.keys(metrics).find((each) => metrics[each] === metric);
  if (original === undefined || Object.hasOwn(metrics, metric)) return [];
  return [{ path: [], detail: `goes by its original name here: ${quote(original)}` }];
}

/** Checks the rules of one level. `rules` is the first of `levels`. */
function findPropertyContradictions(
  rules: PropertyRules,
  levels: Levels,
): readonly Contradiction[] {
  const { include, exclude, rename } = rules;
  const inBoth = exclude.flatMap((name, index) =>
    include?.includes(name) === true
      ? [{ path: ['exclude', index], detail: `${quote(name)} is under include, too` }]
      : [],
  );
  const renames = Object.entries(rename).flatMap(([name, wanted]) => {
    const detail = findRenameContradiction({ name, wanted, levels });
    return detail === null ? [] : [{ path: ['rename', name], detail }];
  });
  return [...inBoth, ...renames];
}

type Rename = { readonly name: string; readonly wanted: string; readonly levels: Levels };

function findRenameContradiction({ name, wanted, levels }: Rename): string | null {
  if (!isPropertyKept(levels, name)) return 'is left out, so it cannot be renamed';
  const renamed = new Set(levels.flatMap((level) => Object.keys(level.rename)));
  if (renamed.has(wanted)) return `${quote(wanted)} is itself renamed`;
  const other = [...renamed].find(
    (each) => each !== name && isPropertyKept(levels, each) && findNewName(levels, each) === wanted,
  );
  if (other !== undefined) return `would have the same name as ${quote(other)}`;
  const isIncluded =
    levels.some(({ include }) => include?.includes(wanted)) && isPropertyKept(levels, wanted);
  return isIncluded ? `${quote(wanted)} is another property, under include` : null;
}

function prefixPaths(
  path: Contradiction['path'],
  faults: readonly Contradiction[],
): readonly Contradiction[] {
  return faults.map((fault) => ({ ...fault, path: [...path, ...fault.path] }));
}

const quote = (name: string): string => JSON.stringify(name);
