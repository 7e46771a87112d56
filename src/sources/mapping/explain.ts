import { explainConsent } from './consent.js';
import { findRules, type Mapping } from './mapping.js';
import { listLevels, type Levels, type PropertyRules, type SourceMapping } from './rules.js';
import { sources, type SourceName } from '../list.js';

/** The rules of the mapping file for one source, one line for each rule. */
export type Explained = { readonly source: SourceName; readonly lines: readonly string[] };

/** Describes the mapping file as the relay understands it, for all sources, including those without rules. */
export function explainMapping(mapping: Mapping): readonly Explained[] {
  return sources.map((source) => {
    const own = source.mapping?.explain({ MAPPING_FILE: mapping });
    if (own !== undefined) return { source: source.name, lines: own };
    const rules = findRules(mapping, source.name);
    const lines = rules === undefined ? [] : explainSource(rules);
    return { source: source.name, lines: lines.length === 0 ? ['all on, as it comes'] : lines };
  });
}

function explainSource(rules: SourceMapping): readonly string[] {
  const { topics, metrics, properties, events, consent } = rules;
  return [
    ...explainSwitches('topic', topics),
    ...explainSwitches('metric', metrics),
    ...explainProperties('properties', [properties]),
    ...Object.keys(events).flatMap((metric) =>
      explainProperties(`properties of ${metric}`, listLevels(rules, metric)),
    ),
    ...explainConsent(consent),
  ];
}

function explainSwitches(
  what: string,
  switches: Readonly<Record<string, boolean | string>>,
): readonly string[] {
  const all = Object.entries(switches);
  if (all.length === 0) return [];
  const off = all.filter(([, value]) => value === false).map(([name]) => name);
  const renamed = all.flatMap(([name, value]) =>
    typeof value === 'string' ? `${what} ${name}: becomes ${value}` : [],
  );
  return [...off.map((name) => `${what} ${name}: off`), ...renamed, `all other ${what}s: on`];
}

/** Describes rules in the order in which they apply: the first that names a property decides. */
function explainProperties(what: string, levels: Levels): readonly string[] {
  const words = levels.map(describePropertyRules).filter((text) => text !== '');
  return words.length === 0 ? [] : [`${what}: ${words.join('; else ')}`];
}

function describePropertyRules({ include, exclude, rename }: PropertyRules): string {
  return [
    ...(exclude.length === 0 ? [] : [`left out: ${exclude.join(', ')}`]),
    ...Object.entries(rename).map(([name, wanted]) => `${name} becomes ${wanted}`),
    ...(include === null ? [] : [include.length === 0 ? 'none' : `only ${include.join(', ')}`]),
  ].join('; ');
}
