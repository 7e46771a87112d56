import type { JsonObject } from '../../json/json.js';

/** What becomes of properties, by the names they have directly under `properties`. */
export type PropertyRules = {
  /** Null: all of them. */
  readonly include: readonly string[] | null;
  readonly exclude: readonly string[];
  /** New names by old ones. */
  readonly rename: Readonly<Record<string, string>>;
};

/** What a mapping file says of one source. Metrics go by the name that the source's map gives them. */
export type SourceMapping = {
  /** False: off. */
  readonly topics: Readonly<Record<string, boolean>>;
  /** False: off; text: its new name. */
  readonly metrics: Readonly<Record<string, boolean | string>>;
  readonly properties: PropertyRules;
  readonly events: Readonly<Record<string, PropertyRules>>;
};

/**
 * Rules that are asked in turn about each name: the first that says something of it decides. A list
 * of what to include says something of every name.
 */
export type Levels = readonly PropertyRules[];

export function listLevels({ properties, events }: SourceMapping, metric: string): Levels {
  const own = findOwn(events, metric);
  return own === undefined ? [properties] : [own, properties];
}

/** Never what an object inherits, such as `constructor`. */
export function findOwn<T>(map: Readonly<Record<string, T>>, name: string): T | undefined {
  return Object.hasOwn(map, name) ? map[name] : undefined;
}

export function isPropertyKept(levels: Levels, name: string): boolean {
  for (const { include, exclude } of levels) {
    if (exclude.includes(name)) return false;
    if (include !== null) return include.includes(name);
  }
  return true;
}

export function findNewName(levels: Levels, name: string): string {
  for (const { rename } of levels) {
    const renamed = findOwn(rename, name);
    if (renamed !== undefined) return renamed;
  }
  return name;
}

/**
 * Nothing is ever lost by a rename: a property whose new name is taken, by another one or by a field
 * that becomes a property (`taken`), keeps its own.
 */
export function shapeProperties(
  properties: JsonObject,
  levels: Levels,
  taken: readonly string[] = [],
): JsonObject {
  const kept = Object.entries(properties).filter(([name]) => isPropertyKept(levels, name));
  const names = new Set([...kept.map(([name]) => name), ...taken]);
  return Object.fromEntries(
    kept.map(([name, value]) => {
      const wanted = findNewName(levels, name);
      return [names.has(wanted) ? name : wanted, value];
    }),
  );
}
