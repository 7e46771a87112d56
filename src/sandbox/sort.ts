/** `sort` is a field, with a minus for descending; stable, and as it is where `sort` is null. */
export function sortBy<T>(
  entries: readonly T[],
  sort: string | null,
  toOrder: (entry: T, field: string) => string | number,
): readonly T[] {
  if (sort === null) return entries;
  const sign = sort.startsWith('-') ? -1 : 1;
  const field = sort.replace(/^-/, '');
  return [...entries].sort((a, b) => {
    const [left, right] = [toOrder(a, field), toOrder(b, field)];
    return left === right ? 0 : sign * (left < right ? -1 : 1);
  });
}

/** Each field, ascending and descending. */
export function eitherWay(...fields: readonly string[]): readonly string[] {
  return fields.flatMap((field) => [field, `-${field}`]);
}
