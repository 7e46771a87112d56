import { callTypes, type CallType } from './calls.js';

/** Returns the kind of body that a path takes: a batch, or one call of a type. */
export function findCallKind(path: string): 'batch' | CallType {
  const name = /^\/v1\/(?:pixel\/)?(\w+)/.exec(normalizeSegmentUrl(path))?.[1];
  return callTypes.find((type) => type === name) ?? 'batch';
}

/** Paths after `/v1/` to which the SDKs of Segment and RudderStack post (upstream-contracts 4.1, 4.2). */
export const segmentNames = ['batch', 'import', ...callTypes] as const;
export type SegmentName = (typeof segmentNames)[number];

/** Paths after `/v1/` of RudderStack's gateway whose bodies are not calls of an SDK. */
export const unsupportedNames = ['webhook', 'extract', 'audiencelist'] as const;

/** analytics.js uses the first letter of a name. */
const byLetter = new Map<string, string>(
  segmentNames
    .filter((name) => name !== 'import' && name !== 'merge')
    .map((name) => [name.slice(0, 1), name]),
);

/** Other names of RudderStack's gateway for a batch: from its reverse ETL, and for replayed events. */
const batches = new Map<string, string>([
  ['replay', 'batch'],
  ['retl', 'batch'],
]);

const longNames = new Map([...byLetter, ...batches]);
const names = [...longNames.keys(), ...segmentNames, ...unsupportedNames].join('|');
const pattern = new RegExp(`^/(?:internal/)?v1/(${names})/?(?=\\?|$)`);
/** Paths of browsers that leave a page (`sendBeacon`), and of pages without JavaScript. */
const beacon = /^\/beacon\/v1\/batch\/?(?=\?|$)/;
const pixel = /^\/(?:v1\/pixel|pixel\/v1)\/(\w+)\/?(?=\?|$)/;

/** Rewrites other spellings of a path to the path that has a route. Any other URL stays. */
export function normalizeSegmentUrl(url: string): string {
  return url
    .replace(pattern, (_all, name: string) => `/v1/${longNames.get(name) ?? name}`)
    .replace(beacon, '/v1/batch')
    .replace(pixel, (_all, name: string) => `/v1/pixel/${name}`)
    .replace(/^\/(sourceConfig|health|version)\/(?=\?|$)/, '/$1');
}
