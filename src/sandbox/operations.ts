/**
 * The operations of Klaviyo's API: which of them the sandbox imitates, and which a request is for.
 * Paths, scopes and rate tiers are those of Klaviyo's OpenAPI files (github.com/klaviyo/openapi).
 */

import type { Operation } from './operation.js';
import { eventWriteOperations } from './post-events.js';
import { profileWriteOperations } from './post-profiles.js';
import { listMemberOperations } from './list-members.js';
import { catalogOperations } from './post-catalog.js';
import { profileJobOperations } from './post-profile-jobs.js';
import { subscriptionOperations } from './post-subscriptions.js';
import { suppressionOperations } from './suppressions.js';
import { accountOperations } from './read-accounts.js';
import { eventReadOperations } from './read-events.js';
import { importJobOperations } from './read-import-jobs.js';
import { listOperations } from './read-lists.js';
import { profileReadOperations } from './read-profiles.js';

/** All imitated operations. */
export const operations: readonly Operation[] = [
  ...eventWriteOperations,
  ...profileWriteOperations,
  ...importJobOperations,
  ...profileReadOperations,
  ...eventReadOperations,
  ...listOperations,
  ...listMemberOperations,
  ...subscriptionOperations,
  ...suppressionOperations,
  ...profileJobOperations,
  ...catalogOperations,
  ...accountOperations,
];

/**
 * Operations of Klaviyo that the sandbox does not imitate, under paths of which it imitates others.
 */
const unsupportedOperations: readonly (readonly [method: string, path: string])[] = [
  ['POST', '/api/lists'],
  ['PATCH', '/api/lists/{id}'],
  ['DELETE', '/api/lists/{id}'],
  ['GET', '/api/metrics/{id}/metric-properties'],
  ['GET', '/api/metrics/{id}/relationships/metric-properties'],
  ['GET', '/api/profiles/{id}/conversation'],
  ['GET', '/api/profiles/{id}/conversations'],
  ['GET', '/api/profiles/{id}/relationships/conversation'],
  ['GET', '/api/profiles/{id}/relationships/conversations'],
];

/** Parts of Klaviyo's API of which the sandbox imitates little or nothing, by the name after `/api/`. */
const unsupportedResources = new Set(
  `back-in-stock-subscriptions campaign-clone campaign-message-assign-template campaign-messages
  campaign-recipient-estimation-jobs campaign-recipient-estimations campaign-send-jobs
  campaign-values-reports campaigns catalog-categories catalog-category-bulk-create-jobs
  catalog-category-bulk-delete-jobs catalog-category-bulk-update-jobs catalog-item-bulk-create-jobs
  catalog-item-bulk-delete-jobs catalog-item-bulk-update-jobs catalog-items
  catalog-variant-bulk-create-jobs catalog-variant-bulk-delete-jobs catalog-variant-bulk-update-jobs
  catalog-variants conversation-messages coupon-code-bulk-create-jobs coupon-codes coupons
  custom-metrics data-source-record-bulk-create-jobs
  data-source-record-create-jobs data-sources flow-actions flow-messages flow-series-reports
  flow-values-reports flows form-series-reports form-values-reports form-versions forms image-upload
  images mapped-metrics metric-aggregates metric-properties object-record-bulk-delete-jobs
  object-records object-schemas object-types push-tokens reviews segment-series-reports
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
