/** Klaviyo's maximum of profiles on a page. A value of an identifier has at most one profile. */
const maxValues = 100;
/** Servers and proxies bound the first line of a request, most of them to 8 KB. */
const maxPathChars = 6000;

/**
 * Returns the paths of GET requests for the profiles that have one of these values of an identifier. The profiles
 * in the responses have the attributes `selected`. Klaviyo's OpenAPI: get_profiles. Each response is a single page.
 */
export function toProfilePaths(
  identifier: string,
  values: readonly string[],
  selected: readonly string[],
): readonly string[] {
  const paths: string[] = [];
  let part: string[] = [];
  for (const value of values) {
    const isFull = part.length === maxValues;
    if (isFull || toFilterPath(identifier, [...part, value], selected).length > maxPathChars) {
      if (part.length > 0) paths.push(toFilterPath(identifier, part, selected));
      part = [];
    }
    part.push(value);
  }
  return part.length === 0 ? paths : [...paths, toFilterPath(identifier, part, selected)];
}

function toFilterPath(
  identifier: string,
  values: readonly string[],
  selected: readonly string[],
): string {
  const query = new URLSearchParams({
    filter: `any(${identifier},[${values.map(quoteValue).join(',')}])`,
    'fields[profile]': selected.join(','),
    'page[size]': String(maxValues),
  });
  return `/api/profiles?${query.toString()}`;
}

const quoteValue = (value: string): string =>
  `"${value.replaceAll('\\', '\\\\').replaceAll('"', '\\"')}"`;
