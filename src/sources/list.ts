import { generic } from './generic/source.js';
import { segment } from './segment/source.js';
import { shopify } from './shopify/source.js';
import type { MappingSection, SettingValues } from './source.js';
import { stripe } from './stripe/source.js';
import { woocommerce } from './woocommerce/source.js';

/**
 * The list of sources. Everything that the relay does for each source (settings, secrets, routes, the
 * mapping file) is derived from it. Outside its folder, only this list names a source, and
 * src/http/routes/sources/ if the source has routes of its own. source.ts explains how to write one.
 */

/** All sources. The order is that of `klaviyo-relay check` and of the routes. */
export const sources = [segment, shopify, stripe, woocommerce, generic] as const;

export type SourceName = (typeof sources)[number]['name'];
export const sourceNames: readonly SourceName[] = sources.map(({ name }) => name);

type Intersection<U> = (U extends unknown ? (member: U) => void : never) extends (
  all: infer All,
) => void
  ? All
  : never;

type SectionOf<S> = S extends { readonly mapping?: MappingSection<string, infer M> } ? M : never;

/** Sections of the mapping file that are in the own form of a source. */
export type OwnSections = {
  readonly [S in (typeof sources)[number] as [SectionOf<S>] extends [never] ? never : S['name']]?:
    SectionOf<S> | undefined;
};

/** Environment variables of all sources. config.ts adds them to the settings of the relay. */
export type SourceSettings = Intersection<(typeof sources)[number]['settings']>;
export const sourceSettings = Object.assign(
  {},
  ...sources.map(({ settings }) => settings),
) as SourceSettings;
export const sourceSecrets = sources.flatMap(({ secrets }) => [...secrets]);

/** The values that the sources read: their settings, and the mapping file. */
export type AllSourceValues = SettingValues<SourceSettings> & {
  readonly MAPPING_FILE?: OwnSections | undefined;
};

/** Lists the secrets of all sources as the texts to be redacted from logs. */
export function listSourceSecrets(settings: SettingValues<SourceSettings>): readonly string[] {
  return sourceSecrets.flatMap((name) => collectTexts(settings[name]));
}

/** Lists all texts in a value, including those in its lists and objects. */
function collectTexts(value: unknown): readonly string[] {
  if (typeof value === 'string') return [value];
  return typeof value === 'object' && value !== null
    ? Object.values(value).flatMap(collectTexts)
    : [];
}

/** Checks the settings of each source against each other. Returns one line for each fault. */
export function findSourceContradictions(values: AllSourceValues): readonly string[] {
  return sources.flatMap((source) => source.findContradictions?.(values) ?? []);
}
