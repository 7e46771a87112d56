/**
 * The imitated parts of Klaviyo's API, by the names that fault scripts and window settings use, and
 * their rate windows.
 */

import type { RateWindow } from '../model/limiter.js';
import type { RevisionRules } from './revisions.js';

export const endpoints = [
  'events',
  'bulk-events',
  'profile-import',
  'bulk-profiles',
  'write-profiles',
  'jobs',
  'profiles',
  'read-events',
  'metrics',
  'lists',
  'accounts',
  'subscribe',
  'unsubscribe',
  'suppress',
  'unsuppress',
  'suppression-jobs',
  'list-members',
  'merge',
  'deletion',
  'catalog',
  'catalog-jobs',
] as const;
export type Endpoint = (typeof endpoints)[number];

export type WindowOptions =
  'off' | Readonly<Partial<Record<Endpoint, readonly RateWindow[] | 'off'>>>;

/** Requests a second for each of Klaviyo's rate tiers (`x-klaviyo-ratelimit` in its OpenAPI). */
const perSecond = { XS: 1, S: 3, M: 10, L: 75, XL: 350 } as const;
/** The tier of `catalog-read` depends on the revision. */
export type Tier = keyof typeof perSecond | 'catalog-read';

function getRequestsPerMinute(tier: keyof typeof perSecond, rules: RevisionRules): number {
  return { XS: 15, S: 60, M: 150, L: rules.largeTierPerMinute, XL: 3500 }[tier];
}

/**
 * The rate windows of an operation: Klaviyo's own unless the options set its endpoint. Without
 * windows nothing is counted.
 */
export function getWindows(
  { endpoint, tier }: { readonly endpoint: Endpoint; readonly tier: Tier },
  rules: RevisionRules,
  options: WindowOptions | undefined,
): readonly RateWindow[] {
  const chosen = options === 'off' ? 'off' : options?.[endpoint];
  if (chosen === 'off') return [];
  const known = tier === 'catalog-read' ? rules.catalogReadTier : tier;
  return (
    chosen ?? [
      { limit: perSecond[known], windowMs: 1000 },
      { limit: getRequestsPerMinute(known, rules), windowMs: 60_000 },
    ]
  );
}
