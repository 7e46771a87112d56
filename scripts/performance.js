// Renders the table of docs/performance.md from the results that `npm run bench` writes to bench/results.
// `npm run docs` writes the page.
import { existsSync, readFileSync } from 'node:fs';
import { z } from 'zod';

/** @typedef {import('./performance.js').MeasuredRow} MeasuredRow */
/** @typedef {import('./performance.js').Spread} Spread */

const files = ['intake', 'delivery', 'drafting', 'backlog', 'rate', 'redis', 'growth'];

const spreadSchema = z.object({ median: z.number(), min: z.number(), max: z.number() });
const resultSchema = z.object({
  rows: z.array(
    z.object({
      row: z.string(),
      what: z.string(),
      against: z.string(),
      measured: spreadSchema,
      unit: z.string(),
      least: z.string(),
      aim: z.string(),
      absolute: z.record(z.string(), spreadSchema),
    }),
  ),
});

/** All measured rows, in the order of their numbers. */
export function readRows() {
  const rows = files.flatMap((name) => {
    const path = new URL(`../bench/results/${name}.json`, import.meta.url);
    return existsSync(path) ? resultSchema.parse(JSON.parse(readFileSync(path, 'utf8'))).rows : [];
  });
  return rows.sort((a, b) => parseInt(a.row) - parseInt(b.row));
}

/** @param {number} value */
function toNumber(value) {
  if (value === 0) return '0';
  return value >= 1000 ? Math.round(value).toLocaleString('en-US') : String(+value.toPrecision(3));
}

/**
 * Formats the median and, if the figure was measured several times, its range.
 * @param {Spread} spread
 */
export function toFigure({ median, min, max }) {
  return min === max ? toNumber(median) : `${toNumber(median)} (${toNumber(min)}–${toNumber(max)})`;
}

/** @param {readonly MeasuredRow[]} rows */
export function toPerformanceTable(rows) {
  const lines = rows.map(({ row, what, against, measured, unit, least, aim, absolute }) => {
    const others = Object.entries(absolute).map(([name, spread]) => `${name} ${toFigure(spread)}`);
    const figure = `**${toFigure(measured)}** ${unit}`;
    return `| ${[row, what, against, figure, least, aim, others.join('; ') || '–'].join(' | ')} |`;
  });
  return [
    '| # | what | against | measured: median (min–max) | at least | aim | for orientation |',
    '| --- | --- | --- | --- | --- | --- | --- |',
    ...lines,
  ].join('\n');
}
