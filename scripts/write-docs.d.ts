// Types of write-docs.js. The tests import the script, and the build does not compile scripts.
import type { z } from 'zod';

/** One environment variable. `fallback` is its default as an operator would write it, or null. */
export type Setting = {
  readonly name: string;
  readonly description: string;
  readonly required: boolean;
  readonly fallback: string | null;
};

/** A section of the configuration page: settings by name, or all with a prefix. */
export type SettingGroup = {
  readonly title: string;
  readonly names?: readonly string[];
  readonly prefix?: string;
};

export type MetricRow = {
  readonly name: string;
  readonly type: string;
  readonly help: string;
  readonly labelNames: readonly string[];
};

export const settingGroups: readonly SettingGroup[];
export const commandNames: readonly string[];
export function toSettings(schema: z.ZodObject): Setting[];
export function toSettingsTable(settings: readonly Setting[]): string;
/** Throws if a setting is not in exactly one group. */
export function toGroupedTables(
  settings: readonly Setting[],
  groups?: readonly SettingGroup[],
): string;
export function toEnvExample(settings: readonly Setting[]): string;
export function toMetricRows(registry: { getMetricsAsArray(): readonly object[] }): MetricRow[];
export function toMetricsTable(metrics: readonly MetricRow[]): string;
export function toCliSections(
  commands: readonly { readonly name: string; readonly help: string }[],
): string;
/** Throws unless each marker is there once, and in order. */
export function replaceBetween(text: string, marker: string, body: string): string;
