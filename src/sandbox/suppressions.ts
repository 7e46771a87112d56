/**
 * `/api/profile-suppression-bulk-create-jobs` and `-delete-jobs`: suppression of email addresses, by
 * Klaviyo's OpenAPI. The form of the responses was recorded live (bulk_suppress_profiles.202.json of
 * github.com/nickdnk/klaviyo-php-sdk).
 */

import { z } from 'zod';
import { isKlaviyoEmail } from './check-profile.js';
import { equalText, isMatch } from './filters.js';
import type { Jobs } from './jobs.js';
import { defineOperations } from './operation.js';
import type { Call } from './operation.js';
import { listProfileCandidates, respondUnlessPoisoned } from './poison.js';
import {
  inBothDirections,
  respondWithPage,
  respondWithResource,
  sortBy,
  withQuery,
} from './query.js';
import { parseFrame } from './request-body.js';
import { toSuppressionJobResource } from './resources.js';
import type { SuppressionJobType } from './resources.js';
import {
  createErrorResponse,
  createInvalidError,
  createNotFoundResponse,
  createTooManyResponse,
} from './response.js';
import type { ApiResponse } from './response.js';
import type { SuppressionJob, SuppressionWork } from './suppression-jobs.js';

const create = toHandlers('profile-suppression-bulk-create-job');
const remove = toHandlers('profile-suppression-bulk-delete-job');

export const suppressionOperations = [
  ...defineOperations('suppress', {
    'POST /api/profile-suppression-bulk-create-jobs': {
      name: 'bulk_suppress_profiles',
      tier: 'L',
      scopes: 'profiles:write subscriptions:write',
      handle: create.start,
    },
  }),
  ...defineOperations('unsuppress', {
    'POST /api/profile-suppression-bulk-delete-jobs': {
      name: 'bulk_unsuppress_profiles',
      tier: 'L',
      scopes: 'subscriptions:write',
      handle: remove.start,
    },
  }),
  ...defineOperations('suppression-jobs', {
    'GET /api/profile-suppression-bulk-create-jobs': {
      name: 'get_bulk_suppress_profiles_jobs',
      tier: 'L',
      scopes: 'subscriptions:read',
      handle: create.list,
    },
    'GET /api/profile-suppression-bulk-create-jobs/{id}': {
      name: 'get_bulk_suppress_profiles_job',
      tier: 'L',
      scopes: 'subscriptions:read',
      handle: create.read,
    },
    'GET /api/profile-suppression-bulk-delete-jobs': {
      name: 'get_bulk_unsuppress_profiles_jobs',
      tier: 'L',
      scopes: 'subscriptions:read',
      handle: remove.list,
    },
    'GET /api/profile-suppression-bulk-delete-jobs/{id}': {
      name: 'get_bulk_unsuppress_profiles_job',
      tier: 'L',
      scopes: 'subscriptions:read',
      handle: remove.read,
    },
  }),
];

/** Klaviyo's limit for one job. */
const maxAddresses = 100;

type Handler = (call: Call) => ApiResponse;

/** The three operations on the jobs of one type. */
function toHandlers(type: SuppressionJobType): { start: Handler; list: Handler; read: Handler } {
  const jobsOf = ({ account }: Call): Jobs<SuppressionWork, SuppressionJob> =>
    account.suppressionJobs[
      type === 'profile-suppression-bulk-create-job' ? 'suppress' : 'unsuppress'
    ];
  return {
    start: (call) => startSuppressionJob(call, type, jobsOf(call)),
    list: (call) => listSuppressionJobs(call, type, jobsOf(call)),
    read: (call) =>
      withQuery(call, { fields: [type] }, (query) => {
        const job = jobsOf(call).get(call.id);
        return job === undefined
          ? createNotFoundResponse(`A ${type} with id ${call.id} does not exist.`)
          : respondWithResource(toSuppressionJobResource(job, { type, url: call.url }), query);
      }),
  };
}

function toRelationship(type: string) {
  const data = z.strictObject({ type: z.literal(type), id: z.string().min(1) });
  return z.strictObject({ data: data.optional() }).optional();
}

function toFrame(type: SuppressionJobType) {
  const email = z.string().refine(isKlaviyoEmail, 'Invalid email address');
  const profile = z.strictObject({
    type: z.literal('profile'),
    attributes: z.strictObject({ email }),
  });
  return z.strictObject({
    data: z.strictObject({
      type: z.literal(type),
      attributes: z.strictObject({
        profiles: z.strictObject({ data: z.array(profile).min(1) }).nullish(),
      }),
      relationships: z
        .strictObject({ list: toRelationship('list'), segment: toRelationship('segment') })
        .optional(),
    }),
  });
}

const frames = {
  'profile-suppression-bulk-create-job': toFrame('profile-suppression-bulk-create-job'),
  'profile-suppression-bulk-delete-job': toFrame('profile-suppression-bulk-delete-job'),
};

function startSuppressionJob(
  call: Call,
  type: SuppressionJobType,
  jobs: Jobs<SuppressionWork, SuppressionJob>,
): ApiResponse {
  const framed = parseFrame(call.json, frames[type], type);
  if ('invalid' in framed) return framed.invalid;
  const { attributes, relationships } = framed.frame.data;
  const profiles = attributes.profiles?.data ?? [];
  const count = profiles.length;
  const path = ['data', 'attributes', 'profiles', 'data'];
  if (count > maxAddresses) {
    const pointer = `/${path.join('/')}`;
    return createTooManyResponse({ noun: 'profiles', max: maxAddresses, count, pointer });
  }
  const listId = relationships?.list?.data?.id ?? null;
  const segmentId = relationships?.segment?.data?.id ?? null;
  const invalid = checkTarget(call, { hasProfiles: count > 0, listId, segmentId });
  if (invalid !== null) return { ...invalid, count };
  const { selectsFieldsOfNewJobs } = call.revision;
  return withQuery(call, { fields: selectsFieldsOfNewJobs ? [type] : [] }, (query) => {
    const listCandidates = () => listProfileCandidates(profiles, path);
    return respondUnlessPoisoned(call.poisons, { count, listCandidates }, () => {
      const emails = profiles.map((profile) => profile.attributes.email);
      const job = jobs.start({ emails, listId });
      const resource = toSuppressionJobResource(job, { type, url: call.url });
      return { ...respondWithResource(resource, query), status: 202 };
    });
  });
}

/**
 * A job is for addresses, for a list or for a segment. The sandbox has no segments. Klaviyo's texts
 * for these errors are not known.
 */
function checkTarget(
  { account }: Call,
  target: { hasProfiles: boolean; listId: string | null; segmentId: string | null },
): ApiResponse | null {
  const { hasProfiles, listId, segmentId } = target;
  const named = [hasProfiles, listId !== null, segmentId !== null].filter(Boolean).length;
  if (named !== 1) {
    const detail = 'Exactly one of profiles, list and segment is required.';
    return createErrorResponse(400, [createInvalidError(detail)]);
  }
  if (segmentId !== null) {
    const pointer = '/data/relationships/segment/data/id';
    const detail = `A segment with id ${segmentId} does not exist.`;
    return createErrorResponse(400, [createInvalidError(detail, { pointer })]);
  }
  if (listId === null || account.lists.get(listId) !== undefined) return null;
  const pointer = '/data/relationships/list/data/id';
  const detail = `A list with id ${listId} does not exist.`;
  return createErrorResponse(400, [createInvalidError(detail, { pointer })]);
}

function listSuppressionJobs(
  call: Call,
  type: SuppressionJobType,
  jobs: Jobs<SuppressionWork, SuppressionJob>,
): ApiResponse {
  const { url } = call;
  const rules = {
    fields: [type],
    filter: {
      status: { ...equalText, values: ['queued', 'processing', 'complete', 'cancelled'] },
      list_id: equalText,
      segment_id: equalText,
    },
    sort: inBothDirections('created'),
  };
  return withQuery(call, rules, (query) => {
    const found = jobs
      .all()
      .filter((job) => isMatch(query.filter, (field) => getSuppressionJobValue(job, field)));
    const sorted = sortBy(found, query.sort, (job) => job.createdAt);
    return respondWithPage(sorted, {
      query,
      url,
      toResource: (job) => toSuppressionJobResource(job, { type, url }),
    });
  });
}

function getSuppressionJobValue(job: SuppressionJob, field: string): string | null {
  if (field === 'status') return job.status;
  return field === 'list_id' ? job.listId : null;
}
