/** Median and range of what was measured, each as often as there were rounds. */
export type Spread = { readonly median: number; readonly min: number; readonly max: number };

export function toSpread(values: readonly number[]): Spread {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  const [low = NaN, high = NaN] = [sorted[Math.ceil(sorted.length / 2) - 1], sorted[middle]];
  return { median: (low + high) / 2, min: sorted[0] ?? NaN, max: sorted.at(-1) ?? NaN };
}

/** A B C, A B C, …: what the machine does meanwhile meets all alike. */
export async function interleave<N extends string, T>(
  rounds: number,
  variants: Readonly<Record<N, () => Promise<T>>>,
): Promise<Readonly<Record<N, readonly T[]>>> {
  const names = Object.keys(variants) as N[];
  const measured = Object.fromEntries(names.map((name) => [name, [] as T[]])) as Record<N, T[]>;
  for (let round = 0; round < rounds; round++) {
    for (const name of names) measured[name].push(await variants[name]());
  }
  return measured;
}

/** Round by round. */
export function toRatio(values: readonly number[], others: readonly number[]): Spread {
  return toSpread(values.map((value, index) => value / (others[index] ?? NaN)));
}
