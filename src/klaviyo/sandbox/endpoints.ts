import type { RateWindow } from '../../envelope.js';
import type { RevisionRules } from './revisions.js';

/** The parts of Klaviyo's API the sandbox plays, as fault scripts and window settings name them. */
export const endpoints = [
  'events',
  'bulk-events',
  'profile-import',
  'bulk-profiles',
  'jobs',
  'profiles',
  'read-events',
  'metrics',
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
  { endpoint, tier }: Pick<Operation, 'endpoint' | 'tier'>,
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

/** One operation: what it needs and which windows count it. `path` holds at most one `{id}`. */
export type Operation = {
  readonly name: string;
  readonly method: 'GET' | 'POST';
  readonly path: string;
  readonly endpoint: Endpoint;
  readonly tier: Tier;
  /** `x-klaviyo-scopes`; all of them are needed. */
  readonly scopes: readonly string[];
};

const operation = (
  name: string,
  call: `${Operation['method']} ${string}`,
  needs: { endpoint: Endpoint; tier: Tier; scopes: string },
): Operation => {
  const [method, path = ''] = call.split(' ');
  return {
    name,
    method: method === 'POST' ? 'POST' : 'GET',
    path,
    endpoint: needs.endpoint,
    tier: needs.tier,
    scopes: needs.scopes.split(' '),
  };
};

const importJobs = '/api/profile-bulk-import-jobs';
const readJobs = { endpoint: 'jobs', tier: 'M', scopes: 'lists:read profiles:read' } as const;
const readJobParts = { endpoint: 'jobs', tier: 'M', scopes: 'profiles:read' } as const;
const readProfiles = { endpoint: 'profiles', tier: 'L', scopes: 'profiles:read' } as const;

/** Names, scopes and limits are those of the OpenAPI; 13 of its 17 paths. */
export const operations = [
  operation('create_event', 'POST /api/events', {
    endpoint: 'events',
    tier: 'XL',
    scopes: 'events:write',
  }),
  operation('bulk_create_events', 'POST /api/event-bulk-create-jobs', {
    endpoint: 'bulk-events',
    tier: 'M',
    scopes: 'events:write',
  }),
  operation('create_or_update_profile', 'POST /api/profile-import', {
    endpoint: 'profile-import',
    tier: 'L',
    scopes: 'profiles:write',
  }),
  operation('bulk_import_profiles', `POST ${importJobs}`, {
    endpoint: 'bulk-profiles',
    tier: 'M',
    scopes: 'lists:write profiles:write',
  }),
  operation('get_import_jobs', `GET ${importJobs}`, readJobs),
  operation('get_import_job', `GET ${importJobs}/{id}`, readJobs),
  operation('get_import_errors', `GET ${importJobs}/{id}/import-errors`, readJobParts),
  operation('get_import_profiles', `GET ${importJobs}/{id}/profiles`, readJobParts),
  operation('get_profiles', 'GET /api/profiles', readProfiles),
  operation('get_profile', 'GET /api/profiles/{id}', readProfiles),
  operation('get_events', 'GET /api/events', {
    endpoint: 'read-events',
    tier: 'XL',
    scopes: 'events:read',
  }),
  operation('get_metrics', 'GET /api/metrics', {
    endpoint: 'metrics',
    tier: 'M',
    scopes: 'metrics:read',
  }),
  operation('get_accounts', 'GET /api/accounts', {
    endpoint: 'accounts',
    tier: 'XS',
    scopes: 'accounts:read',
  }),
] as const;

/** What a method and a path lead to. */
export type Match =
  | { readonly kind: 'operation'; readonly operation: Operation; readonly id: string }
  | { readonly kind: 'wrong-method' }
  | { readonly kind: 'unknown' };

/** Klaviyo takes paths with and without a trailing slash. */
export function toOperation(method: string, pathname: string): Match {
  const path = pathname.replace(/\/$/, '');
  let known = false;
  for (const candidate of operations) {
    const id = toId(candidate.path, path);
    if (id === null) continue;
    if (candidate.method === method) return { kind: 'operation', operation: candidate, id };
    known = true;
  }
  return { kind: known ? 'wrong-method' : 'unknown' };
}

/** The id in the path, empty where the pattern has none; null where the path does not fit. */
function toId(pattern: string, path: string): string | null {
  const [before = '', after] = pattern.split('{id}');
  if (after === undefined) return path === pattern ? '' : null;
  if (!path.startsWith(before) || !path.endsWith(after)) return null;
  const id = path.slice(before.length, path.length - after.length);
  return id !== '' && !id.includes('/') ? id : null;
}
