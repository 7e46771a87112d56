import { mkdirSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import type { Spread } from './compare.js';

/** One row of the table in docs/performance.md. */
export type Row = {
  /** As in docs/performance.md. */
  readonly row: string;
  readonly what: string;
  readonly against: string;
  readonly measured: Spread;
  /** Of `measured`: `×` for a ratio. */
  readonly unit: string;
  readonly least: string;
  readonly aim: string;
  /** For orientation alone: another machine has others. */
  readonly absolute: Readonly<Record<string, Spread>>;
};

const show = (value: number): string =>
  value >= 1000 ? Math.round(value).toLocaleString('en-US') : value.toPrecision(3);

export const toText = ({ median, min, max }: Spread): string =>
  `${show(median)} (${show(min)}–${show(max)})`;

/** For people at once, and for docs/performance.md. */
export function save(name: string, rows: readonly Row[]): void {
  for (const { row, what, measured, unit, least, aim, absolute } of rows) {
    const others = Object.entries(absolute).map(([each, spread]) => `${each} ${toText(spread)}`);
    process.stdout.write(
      `${row}  ${what}: ${toText(measured)} ${unit}; at least ${least}, aim ${aim}\n      ${others.join(', ')}\n`,
    );
  }
  const directory = new URL('../results/', import.meta.url);
  mkdirSync(directory, { recursive: true });
  const result = { node: process.version, cores: cpus().length, rows };
  writeFileSync(new URL(`${name}.json`, directory), `${JSON.stringify(result, null, 2)}\n`);
}
