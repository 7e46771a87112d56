import {
  isPropertyKept,
  findNewName,
  type Levels,
  type PropertyRules,
  type SourceMapping,
} from './rules.js';

export type Contradiction = {
  readonly path: readonly (string | number)[];
  readonly detail: string;
};

/** What a source's mapping says against itself, or what would let one thing pass for another. */
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

/** An event is told from others by its id and its metric: under one name, two may pass for a repeat. */
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

/** `rules` is the first of `levels`. */
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
