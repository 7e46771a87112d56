/**
 * The operations of Klaviyo's API: paths, scopes and rate tiers from its OpenAPI files
 * (github.com/klaviyo/openapi), and which of them the sandbox imitates.
 */

import type { RateWindow } from '../model/limiter.js';
import type { RevisionRules } from './revisions.js';

/** The imitated parts of Klaviyo's API, by the names that fault scripts and window settings use. */
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

/** Requests a second for each of Klaviyo's rate tiers (`x-klaviyo-ratelimit` in its OpenAPI). */
const perSecond = { XS: 1, S: 3, M: 10, L: 75, XL: 350 } as const;
export type Tier = keyof typeof perSecond;

function getRequestsPerMinute(tier: Tier, rules: RevisionRules): number {
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
  return (
    chosen ?? [
      { limit: perSecond[tier], windowMs: 1000 },
      { limit: getRequestsPerMinute(tier, rules), windowMs: 60_000 },
    ]
  );
}

/** `path` holds at most one `{id}`. */
export type Operation = {
  readonly name: string;
  readonly method: Method;
  readonly path: string;
  readonly endpoint: Endpoint;
  readonly tier: Tier;
  /** All of them are needed (`x-klaviyo-scopes`). */
  readonly scopes: readonly string[];
};

type Method = 'GET' | 'POST' | 'PATCH';
type Needs = { readonly endpoint: Endpoint; readonly tier: Tier; readonly scopes: string };

const operation = (
  name: string,
  [method, path]: readonly [Method, string],
  { endpoint, tier, scopes }: Needs,
): Operation => ({ name, method, path, endpoint, tier, scopes: scopes.split(' ') });

const get = (name: string, path: string, needs: Needs): Operation =>
  operation(name, ['GET', path], needs);
const post = (name: string, path: string, needs: Needs): Operation =>
  operation(name, ['POST', path], needs);

const jobs = '/api/profile-bulk-import-jobs';
const readJobs: Needs = { endpoint: 'jobs', tier: 'M', scopes: 'lists:read profiles:read' };
const readJobProfiles: Needs = { endpoint: 'jobs', tier: 'M', scopes: 'profiles:read' };
const readJobLists: Needs = { endpoint: 'jobs', tier: 'M', scopes: 'lists:read' };
const writeProfile: Needs = { endpoint: 'write-profiles', tier: 'L', scopes: 'profiles:write' };
const readProfiles: Needs = { endpoint: 'profiles', tier: 'L', scopes: 'profiles:read' };
/** Operations that lead from one resource to others. Each has its own limit. */
const related = (endpoint: Endpoint, tier: Tier, scopes: string): Needs => ({
  endpoint,
  tier,
  scopes,
});
const profileLists = related('profiles', 'S', 'lists:read profiles:read');
const profileSegments = related('profiles', 'S', 'profiles:read segments:read');
const profilePushTokens = related('profiles', 'M', 'profiles:read');
const eventMetric = related('read-events', 'XL', 'events:read metrics:read');
const eventProfile = related('read-events', 'XL', 'events:read profiles:read');
const metricFlows = related('metrics', 'M', 'flows:read metrics:read');
const listProfiles = related('lists', 'L', 'lists:read profiles:read');
const listTags = related('lists', 'S', 'lists:read tags:read');
const listFlows = related('lists', 'S', 'flows:read lists:read');

const readEvents: Needs = { endpoint: 'read-events', tier: 'XL', scopes: 'events:read' };
const readEvent: Needs = { endpoint: 'read-events', tier: 'M', scopes: 'events:read' };
const readMetrics: Needs = { endpoint: 'metrics', tier: 'M', scopes: 'metrics:read' };
const readLists: Needs = { endpoint: 'lists', tier: 'L', scopes: 'lists:read' };
const readAccounts: Needs = { endpoint: 'accounts', tier: 'XS', scopes: 'accounts:read' };

/** All imitated operations. */
export const operations: readonly Operation[] = [
  post('create_event', '/api/events', { endpoint: 'events', tier: 'XL', scopes: 'events:write' }),
  post('bulk_create_events', '/api/event-bulk-create-jobs', {
    endpoint: 'bulk-events',
    tier: 'M',
    scopes: 'events:write',
  }),
  post('create_or_update_profile', '/api/profile-import', {
    endpoint: 'profile-import',
    tier: 'L',
    scopes: 'profiles:write',
  }),
  post('bulk_import_profiles', jobs, {
    endpoint: 'bulk-profiles',
    tier: 'M',
    scopes: 'lists:write profiles:write',
  }),
  get('get_import_jobs', jobs, readJobs),
  get('get_import_job', `${jobs}/{id}`, readJobs),
  get('get_import_errors', `${jobs}/{id}/import-errors`, readJobProfiles),
  get('get_import_profiles', `${jobs}/{id}/profiles`, readJobProfiles),
  get('get_import_profile_ids', `${jobs}/{id}/relationships/profiles`, readJobProfiles),
  get('get_import_lists', `${jobs}/{id}/lists`, readJobLists),
  get('get_import_list_ids', `${jobs}/{id}/relationships/lists`, readJobLists),
  post('create_profile', '/api/profiles', writeProfile),
  operation('update_profile', ['PATCH', '/api/profiles/{id}'], writeProfile),
  get('get_profiles', '/api/profiles', readProfiles),
  get('get_profile', '/api/profiles/{id}', readProfiles),
  get('get_profile_lists', '/api/profiles/{id}/lists', profileLists),
  get('get_profile_list_ids', '/api/profiles/{id}/relationships/lists', profileLists),
  get('get_none_of_profile', '/api/profiles/{id}/segments', profileSegments),
  get('get_none_of_profile', '/api/profiles/{id}/relationships/segments', profileSegments),
  get('get_none_of_profile', '/api/profiles/{id}/push-tokens', profilePushTokens),
  get('get_none_of_profile', '/api/profiles/{id}/relationships/push-tokens', profilePushTokens),
  get('get_events', '/api/events', readEvents),
  get('get_event', '/api/events/{id}', readEvent),
  get('get_event_metric', '/api/events/{id}/metric', eventMetric),
  get('get_event_metric_id', '/api/events/{id}/relationships/metric', eventMetric),
  get('get_event_profile', '/api/events/{id}/profile', eventProfile),
  get('get_event_profile_id', '/api/events/{id}/relationships/profile', eventProfile),
  get('get_metrics', '/api/metrics', readMetrics),
  get('get_metric', '/api/metrics/{id}', readMetrics),
  get('get_metric_flows', '/api/metrics/{id}/flow-triggers', metricFlows),
  get('get_metric_flows', '/api/metrics/{id}/relationships/flow-triggers', metricFlows),
  get('get_lists', '/api/lists', readLists),
  get('get_list', '/api/lists/{id}', readLists),
  get('get_list_profiles', '/api/lists/{id}/profiles', listProfiles),
  get('get_list_profile_ids', '/api/lists/{id}/relationships/profiles', listProfiles),
  get('get_none_of_list', '/api/lists/{id}/tags', listTags),
  get('get_none_of_list', '/api/lists/{id}/relationships/tags', listTags),
  get('get_none_of_list', '/api/lists/{id}/flow-triggers', listFlows),
  get('get_none_of_list', '/api/lists/{id}/relationships/flow-triggers', listFlows),
  get('get_accounts', '/api/accounts', readAccounts),
  get('get_account', '/api/accounts/{id}', readAccounts),
];

/**
 * Operations of Klaviyo that the sandbox does not imitate, under paths of which it imitates others.
 */
const unsupportedOperations: readonly (readonly [method: string, path: string])[] = [
  ['POST', '/api/lists'],
  ['PATCH', '/api/lists/{id}'],
  ['DELETE', '/api/lists/{id}'],
  ['POST', '/api/lists/{id}/relationships/profiles'],
  ['DELETE', '/api/lists/{id}/relationships/profiles'],
  ['GET', '/api/metrics/{id}/metric-properties'],
  ['GET', '/api/metrics/{id}/relationships/metric-properties'],
  ['GET', '/api/profiles/{id}/conversation'],
  ['GET', '/api/profiles/{id}/conversations'],
  ['GET', '/api/profiles/{id}/relationships/conversation'],
  ['GET', '/api/profiles/{id}/relationships/conversations'],
];

/** Parts of Klaviyo's API that the sandbox does not imitate at all, by the name after `/api/`. */
const unsupportedResources = new Set(
  `back-in-stock-subscriptions campaign-clone campaign-message-assign-template campaign-messages
  campaign-recipient-estimation-jobs campaign-recipient-estimations campaign-send-jobs
  campaign-values-reports campaigns catalog-categories catalog-category-bulk-create-jobs
  catalog-category-bulk-delete-jobs catalog-category-bulk-update-jobs catalog-item-bulk-create-jobs
  catalog-item-bulk-delete-jobs catalog-item-bulk-update-jobs catalog-items
  catalog-variant-bulk-create-jobs catalog-variant-bulk-delete-jobs catalog-variant-bulk-update-jobs
  catalog-variants conversation-messages coupon-code-bulk-create-jobs coupon-codes coupons
  custom-metrics data-privacy-deletion-jobs data-source-record-bulk-create-jobs
  data-source-record-create-jobs data-sources flow-actions flow-messages flow-series-reports
  flow-values-reports flows form-series-reports form-values-reports form-versions forms image-upload
  images mapped-metrics metric-aggregates metric-properties object-record-bulk-delete-jobs
  object-records object-schemas object-types profile-merge profile-subscription-bulk-create-jobs
  profile-subscription-bulk-delete-jobs profile-suppression-bulk-create-jobs
  profile-suppression-bulk-delete-jobs push-tokens reviews segment-series-reports
  segment-values-reports segments source-mappings tag-groups tags template-clone template-render
  template-universal-content templates tracking-settings web-feeds webhook-topics webhooks`.split(
    /\s+/,
  ),
);

/** What a method and a path identify. */
export type Match =
  | { readonly kind: 'operation'; readonly operation: Operation; readonly id: string }
  | { readonly kind: 'wrong-method' }
  | { readonly kind: 'unsupported' }
  | { readonly kind: 'unknown' };

/** Klaviyo accepts paths with and without a trailing slash. */
export function findOperation(method: string, pathname: string): Match {
  const path = pathname.replace(/\/$/, '');
  let known = false;
  for (const candidate of operations) {
    const id = matchPath(candidate.path, path);
    if (id === null) continue;
    if (candidate.method === method) return { kind: 'operation', operation: candidate, id };
    known = true;
  }
  if (isUnsupported(method, path)) return { kind: 'unsupported' };
  return { kind: known ? 'wrong-method' : 'unknown' };
}

function isUnsupported(method: string, path: string): boolean {
  const [, , resource = ''] = path.split('/');
  return (
    path.startsWith('/client/') ||
    unsupportedResources.has(resource) ||
    unsupportedOperations.some(
      ([one, pattern]) => one === method && matchPath(pattern, path) !== null,
    )
  );
}

/** Returns the id in the path, empty if the pattern has none; null if the path does not match. */
function matchPath(pattern: string, path: string): string | null {
  const [before = '', after] = pattern.split('{id}');
  if (after === undefined) return path === pattern ? '' : null;
  if (!path.startsWith(before) || !path.endsWith(after)) return null;
  const id = path.slice(before.length, path.length - after.length);
  return id !== '' && !id.includes('/') ? id : null;
}
