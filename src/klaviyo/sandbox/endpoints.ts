import type { RateWindow } from '../../envelope.js';

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

/** None for an endpoint means that nothing is counted there. */
export type Windows = Readonly<Record<Endpoint, readonly RateWindow[]>>;
export type WindowOptions =
  'off' | Readonly<Partial<Record<Endpoint, readonly RateWindow[] | 'off'>>>;

function toWindows(burst: number, steady: number): readonly RateWindow[] {
  return [
    { limit: burst, windowMs: 1000 },
    { limit: steady, windowMs: 60_000 },
  ];
}

/** `x-klaviyo-ratelimit` of each operation in Klaviyo's OpenAPI, revision 2024-10-15. */
export const klaviyoWindows: Windows = {
  events: toWindows(350, 3500),
  'bulk-events': toWindows(10, 150),
  'profile-import': toWindows(75, 700),
  'bulk-profiles': toWindows(10, 150),
  jobs: toWindows(10, 150),
  profiles: toWindows(75, 700),
  'read-events': toWindows(350, 3500),
  metrics: toWindows(10, 150),
  accounts: toWindows(1, 15),
};

/** Klaviyo's own for every endpoint the options say nothing of. */
export function toAllWindows(options: WindowOptions | undefined): Windows {
  const pick = (endpoint: Endpoint): readonly RateWindow[] => {
    const chosen = options === 'off' ? 'off' : options?.[endpoint];
    return chosen === 'off' ? [] : (chosen ?? klaviyoWindows[endpoint]);
  };
  return {
    events: pick('events'),
    'bulk-events': pick('bulk-events'),
    'profile-import': pick('profile-import'),
    'bulk-profiles': pick('bulk-profiles'),
    jobs: pick('jobs'),
    profiles: pick('profiles'),
    'read-events': pick('read-events'),
    metrics: pick('metrics'),
    accounts: pick('accounts'),
  };
}

/** One operation: what it needs and which windows count it. `path` holds at most one `{id}`. */
export type Operation = {
  readonly name: string;
  readonly method: 'GET' | 'POST';
  readonly path: string;
  readonly endpoint: Endpoint;
  /** `x-klaviyo-scopes`; all of them are needed. */
  readonly scopes: readonly string[];
};

const operation = (
  name: string,
  call: `${Operation['method']} ${string}`,
  needs: { endpoint: Endpoint; scopes: string },
): Operation => {
  const [method, path = ''] = call.split(' ');
  return {
    name,
    method: method === 'POST' ? 'POST' : 'GET',
    path,
    endpoint: needs.endpoint,
    scopes: needs.scopes.split(' '),
  };
};

const importJobs = '/api/profile-bulk-import-jobs';
const jobScopes = { endpoint: 'jobs', scopes: 'lists:read profiles:read' } as const;

/** Names, scopes and limits are those of the OpenAPI; 13 of its 17 paths. */
export const operations = [
  operation('create_event', 'POST /api/events', { endpoint: 'events', scopes: 'events:write' }),
  operation('bulk_create_events', 'POST /api/event-bulk-create-jobs', {
    endpoint: 'bulk-events',
    scopes: 'events:write',
  }),
  operation('create_or_update_profile', 'POST /api/profile-import', {
    endpoint: 'profile-import',
    scopes: 'profiles:write',
  }),
  operation('bulk_import_profiles', `POST ${importJobs}`, {
    endpoint: 'bulk-profiles',
    scopes: 'lists:write profiles:write',
  }),
  operation('get_import_jobs', `GET ${importJobs}`, jobScopes),
  operation('get_import_job', `GET ${importJobs}/{id}`, jobScopes),
  operation('get_import_errors', `GET ${importJobs}/{id}/import-errors`, {
    endpoint: 'jobs',
    scopes: 'profiles:read',
  }),
  operation('get_import_profiles', `GET ${importJobs}/{id}/profiles`, {
    endpoint: 'jobs',
    scopes: 'profiles:read',
  }),
  operation('get_profiles', 'GET /api/profiles', { endpoint: 'profiles', scopes: 'profiles:read' }),
  operation('get_profile', 'GET /api/profiles/{id}', {
    endpoint: 'profiles',
    scopes: 'profiles:read',
  }),
  operation('get_events', 'GET /api/events', { endpoint: 'read-events', scopes: 'events:read' }),
  operation('get_metrics', 'GET /api/metrics', { endpoint: 'metrics', scopes: 'metrics:read' }),
  operation('get_accounts', 'GET /api/accounts', { endpoint: 'accounts', scopes: 'accounts:read' }),
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
