import type { SourceRoutes } from '../http/deps.js';
import { generic } from './generic/source.js';
import { segment } from './segment/source.js';
import { shopify } from './shopify/source.js';
import type { MappingSection, SettingValues } from './source.js';
import { stripe } from './stripe/source.js';
import { woocommerce } from './woocommerce/source.js';

/** Every source of the relay. A new one is a folder beside these and a line here. */
export const sources = [segment, shopify, stripe, woocommerce, generic] as const;

export type SourceName = (typeof sources)[number]['name'];
export const sourceNames: readonly SourceName[] = sources.map(({ name }) => name);

type Intersection<U> = (U extends unknown ? (member: U) => void : never) extends (
  all: infer All,
) => void
  ? All
  : never;

type SectionOf<S> = S extends { readonly mapping?: MappingSection<string, infer M> } ? M : never;

/** Sections of the mapping file that have a form of their source's own. */
export type OwnSections = {
  readonly [S in (typeof sources)[number] as [SectionOf<S>] extends [never] ? never : S['name']]?:
    SectionOf<S> | undefined;
};

/** Environment variables of all sources; a part of the settings in config.ts. */
export type SourceSettings = Intersection<(typeof sources)[number]['settings']>;
export const sourceSettings = Object.assign(
  {},
  ...sources.map(({ settings }) => settings),
) as SourceSettings;
export const sourceSecrets = sources.flatMap(({ secrets }) => [...secrets]);

/** What the sources read: their settings, and the mapping file where a section is of a source's own form. */
export type AllSourceValues = SettingValues<SourceSettings> & {
  readonly MAPPING_FILE?: OwnSections | undefined;
};

/** Each secret of the sources as it would look in a text. */
export function listSourceSecrets(settings: SettingValues<SourceSettings>): readonly string[] {
  return sourceSecrets.flatMap((name) => collectTexts(settings[name]));
}

/** All texts in a value, its lists and its objects. */
function collectTexts(value: unknown): readonly string[] {
  if (typeof value === 'string') return [value];
  return typeof value === 'object' && value !== null
    ? Object.values(value).flatMap(collectTexts)
    : [];
}

/** What is wrong with settings of the sources that are each valid. */
export function findSourceContradictions(values: AllSourceValues): readonly string[] {
  return sources.flatMap((source) => source.findContradictions?.(values) ?? []);
}

/** The routes of all sources, for the server. `settings` are read at each use. */
export function createSourceRoutes(settings: AllSourceValues): readonly SourceRoutes[] {
  return sources.map((source) => ({
    name: source.name,
    docs: source.docs,
    ...('rewriteUrl' in source && { rewriteUrl: source.rewriteUrl }),
    add: (scope, deps) => source.routes(scope, deps, settings),
  }));
}
