import { callTypes, type CallType } from './calls.js';

/** What a path behind `/v1/` says of its body: many calls, or one of this type. */
export function toKind(path: string): 'batch' | CallType {
  const name = /^\/v1\/(\w+)/.exec(toLongUrl(path))?.[1];
  return callTypes.find((type) => type === name) ?? 'batch';
}

/** What the SDKs of Segment and RudderStack post to, behind `/v1/` (upstream-contracts 4.1, 4.2). */
export const segmentNames = ['batch', 'import', ...callTypes] as const;
export type SegmentName = (typeof segmentNames)[number];

/** analytics.js writes the first letter. */
const byLetter = new Map(
  segmentNames.filter((name) => name !== 'import').map((name) => [name.slice(0, 1), name]),
);

const names = [...byLetter.keys(), ...segmentNames].join('|');
const pattern = new RegExp(`^/v1/(${names})/?(?=\\?|$)`);

/** A short path, or one with a slash at its end as analytics-java's, as the one there is a route for. Others stay. */
export function toLongUrl(url: string): string {
  return url.replace(pattern, (_all, name: string) => `/v1/${byLetter.get(name) ?? name}`);
}
