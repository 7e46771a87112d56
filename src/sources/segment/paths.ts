import { callTypes, type CallType } from './calls.js';

/** What a path says of its body: many calls, or one of this type. */
export function findCallKind(path: string): 'batch' | CallType {
  const name = /^\/v1\/(?:pixel\/)?(\w+)/.exec(normalizeSegmentUrl(path))?.[1];
  return callTypes.find((type) => type === name) ?? 'batch';
}

/** What the SDKs of Segment and RudderStack post to, behind `/v1/` (upstream-contracts 4.1, 4.2). */
export const segmentNames = ['batch', 'import', ...callTypes] as const;
export type SegmentName = (typeof segmentNames)[number];

/** Behind `/v1/`: paths of RudderStack's gateway that take other formats than calls of an SDK. */
export const unsupportedNames = ['webhook', 'extract', 'audiencelist'] as const;

/** analytics.js writes the first letter. */
const byLetter = new Map<string, string>(
  segmentNames
    .filter((name) => name !== 'import' && name !== 'merge')
    .map((name) => [name.slice(0, 1), name]),
);

/** Names of RudderStack's gateway for a batch: of its reverse ETL, and of events that are sent again. */
const batches = new Map<string, string>([
  ['replay', 'batch'],
  ['retl', 'batch'],
]);

const longNames = new Map([...byLetter, ...batches]);
const names = [...longNames.keys(), ...segmentNames, ...unsupportedNames].join('|');
const pattern = new RegExp(`^/(?:internal/)?v1/(${names})/?(?=\\?|$)`);
/** Of a browser that leaves a page (`sendBeacon`), and of pages without JavaScript. */
const beacon = /^\/beacon\/v1\/batch\/?(?=\?|$)/;
const pixel = /^\/(?:v1\/pixel|pixel\/v1)\/(\w+)\/?(?=\?|$)/;

/** A path of another spelling as the one there is a route for. Others stay. */
export function normalizeSegmentUrl(url: string): string {
  return url
    .replace(pattern, (_all, name: string) => `/v1/${longNames.get(name) ?? name}`)
    .replace(beacon, '/v1/batch')
    .replace(pixel, (_all, name: string) => `/v1/pixel/${name}`)
    .replace(/^\/(sourceConfig|health|version)\/(?=\?|$)/, '/$1');
}
