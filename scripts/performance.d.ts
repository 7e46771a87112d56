export type Spread = { median: number; min: number; max: number };
export type MeasuredRow = {
  row: string;
  what: string;
  against: string;
  measured: Spread;
  unit: string;
  least: string;
  aim: string;
  absolute: Record<string, Spread>;
};
export function readRows(): MeasuredRow[];
export function toPerformanceTable(rows: readonly MeasuredRow[]): string;
export function toFigure(spread: Spread): string;
