import type { SourceRoutes } from '../http/deps.js';
import { segment } from './segment/source.js';
import { shopify } from './shopify/source.js';
import type { SettingValues } from './source.js';
import { stripe } from './stripe/source.js';

/** Every source of the relay. A new one is a folder beside these and a line here. */
export const sources = [segment, shopify, stripe] as const;

export type SourceName = (typeof sources)[number]['name'];
export const sourceNames: readonly SourceName[] = sources.map(({ name }) => name);

type Intersection<U> = (U extends unknown ? (member: U) => void : never) extends (
  all: infer All,
) => void
  ? All
  : never;

/** Environment variables of all sources; a part of the settings in config.ts. */
export type SourceSettings = Intersection<(typeof sources)[number]['settings']>;
export const sourceSettings = Object.assign(
  {},
  ...sources.map(({ settings }) => settings),
) as SourceSettings;
export const sourceSecrets = sources.flatMap(({ secrets }) => [...secrets]);

/** The routes of all sources, for the server. `settings` are read at each use. */
export function toSourceRoutes(settings: SettingValues<SourceSettings>): readonly SourceRoutes[] {
  return sources.map((source) => ({
    name: source.name,
    docs: source.docs,
    ...('rewriteUrl' in source && { rewriteUrl: source.rewriteUrl }),
    add: (scope, deps) => source.routes(scope, deps, settings),
  }));
}
