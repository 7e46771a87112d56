// write-docs.js for TypeScript: the tests import it, and the build does not compile scripts.
import type { z } from 'zod';

/** One environment variable. `fallback`: its default as an operator would write it; null for none. */
export type Setting = {
  readonly name: string;
  readonly description: string;
  readonly required: boolean;
  readonly fallback: string | null;
};

export type MetricRow = {
  readonly name: string;
  readonly type: string;
  readonly help: string;
  readonly labelNames: readonly string[];
};

export function toSettings(schema: z.ZodObject): Setting[];
export function toSettingsTable(settings: readonly Setting[]): string;
export function toEnvExample(settings: readonly Setting[]): string;
export function toMetricRows(registry: { getMetricsAsArray(): readonly object[] }): MetricRow[];
export function toMetricsTable(metrics: readonly MetricRow[]): string;
/** Throws where the markers are not there, once each and in order. */
export function replaceBetween(text: string, marker: string, body: string): string;
