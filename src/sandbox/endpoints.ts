import type { RateWindow } from '../model/limiter.js';
import type { RevisionRules } from './revisions.js';

/** The parts of Klaviyo's API the sandbox plays, as fault scripts and window settings name them. */
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
] as const;
export type Endpoint = (typeof endpoints)[number];

export type WindowOptions =
  'off' | Readonly<Partial<Record<Endpoint, readonly RateWindow[] | 'off'>>>;

/** Klaviyo's rate tiers (`x-klaviyo-ratelimit` of its OpenAPI): requests a second. */
const perSecond = { XS: 1, S: 3, M: 10, L: 75, XL: 350 } as const;
export type Tier = keyof typeof perSecond;

function toPerMinute(tier: Tier, rules: RevisionRules): number {
  return { XS: 15, S: 60, M: 150, L: rules.largeTierPerMinute, XL: 3500 }[tier];
}

/** What counts an operation: Klaviyo's own windows where the options say nothing of its endpoint. None: nothing is counted. */
export function toWindows(
  { endpoint, tier }: { readonly endpoint: Endpoint; readonly tier: Tier },
  rules: RevisionRules,
  options: WindowOptions | undefined,
): readonly RateWindow[] {
  const chosen = options === 'off' ? 'off' : options?.[endpoint];
  if (chosen === 'off') return [];
  return (
    chosen ?? [
      { limit: perSecond[tier], windowMs: 1000 },
      { limit: toPerMinute(tier, rules), windowMs: 60_000 },
    ]
  );
}
