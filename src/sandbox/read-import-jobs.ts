/**
 * Reads of import jobs and their errors, profiles and lists, by Klaviyo's OpenAPI.
 */

import { defineOperations } from './operation.js';
import type { Call } from './operation.js';
import { createNotFoundResponse } from './response.js';
import type { ApiResponse } from './response.js';
import { isMatch, oneOfTexts } from './filters.js';
import type { ImportJob } from './import-jobs.js';
import { jobStatuses } from './jobs.js';
import type { List } from './lists.js';
import { getSurvivor } from './profiles.js';
import type { Profile } from './profiles.js';
import {
  inBothDirections,
  sortBy,
  respondWithResource,
  respondWithPage,
  withQuery,
} from './query.js';
import type { QueryRules } from './query.js';
import {
  toImportErrorResource,
  toImportJobResource,
  toListResource,
  toProfileResource,
} from './resources.js';
import type { Resource } from './resources.js';

export const importJobOperations = defineOperations('jobs', {
  'GET /api/profile-bulk-import-jobs': {
    name: 'get_import_jobs',
    tier: 'M',
    scopes: 'lists:read profiles:read',
    handle: getImportJobs,
  },
  'GET /api/profile-bulk-import-jobs/{id}': {
    name: 'get_import_job',
    tier: 'M',
    scopes: 'lists:read profiles:read',
    handle: getImportJob,
  },
  'GET /api/profile-bulk-import-jobs/{id}/import-errors': {
    name: 'get_import_errors',
    tier: 'M',
    scopes: 'profiles:read',
    handle: getImportErrors,
  },
  'GET /api/profile-bulk-import-jobs/{id}/profiles': {
    name: 'get_import_profiles',
    tier: 'M',
    scopes: 'profiles:read',
    handle: getImportProfiles,
  },
  'GET /api/profile-bulk-import-jobs/{id}/relationships/profiles': {
    name: 'get_import_profile_ids',
    tier: 'M',
    scopes: 'profiles:read',
    handle: getImportProfileIds,
  },
  'GET /api/profile-bulk-import-jobs/{id}/lists': {
    name: 'get_import_lists',
    tier: 'M',
    scopes: 'lists:read',
    handle: getImportLists,
  },
  'GET /api/profile-bulk-import-jobs/{id}/relationships/lists': {
    name: 'get_import_list_ids',
    tier: 'M',
    scopes: 'lists:read',
    handle: getImportListIds,
  },
});

/**
 * The OpenAPI lists the values of the filter from 2026-04-15 on; earlier files list none.
 * `cancelled` is not one of them.
 */
const jobRules: QueryRules = {
  fields: ['profile-bulk-import-job'],
  filter: { status: { ...oneOfTexts, values: jobStatuses } },
  sort: inBothDirections('created_at'),
  maxPageSize: 100,
};

function getImportJobs(call: Call): ApiResponse {
  const { url, account } = call;
  return withQuery(call, jobRules, (query) => {
    const jobs = account.importJobs
      .all()
      .filter(({ status }) => isMatch(query.filter, () => status));
    const sorted = sortBy(jobs, query.sort, (job) => job.createdAt);
    return respondWithPage(sorted, {
      query,
      url,
      toResource: (job) => toImportJobResource(job, url),
    });
  });
}

function getImportJob(call: Call): ApiResponse {
  const { url } = call;
  const rules = { fields: ['profile-bulk-import-job', 'list'], include: ['lists'] };
  return withQuery(call, rules, (query) =>
    withJob(call, (job) => {
      const lists = query.include.includes('lists') ? findListsOfJob(call, job) : [];
      const included = lists.map((list) => toListResource(list, url));
      return respondWithResource(toImportJobResource(job, url), query, included);
    }),
  );
}

/** Empty until the job is complete. */
function getImportErrors(call: Call): ApiResponse {
  const { url } = call;
  return withQuery(call, { fields: ['import-error'], maxPageSize: 100 }, (query) =>
    withJob(call, (job) =>
      respondWithPage(job.errors, {
        query,
        url,
        toResource: (error) => toImportErrorResource(error, { jobId: job.id, url }),
      }),
    ),
  );
}

function getImportProfiles(call: Call): ApiResponse {
  const rules = { fields: ['profile'], additionalFields: 'profile', maxPageSize: 100 };
  return respondWithJobProfiles(call, rules, { identifiersOnly: false });
}

function getImportProfileIds(call: Call): ApiResponse {
  return respondWithJobProfiles(call, { fields: [], maxPageSize: 100 }, { identifiersOnly: true });
}

/** The profiles in their present state. Merged profiles appear once, deleted ones never. */
function respondWithJobProfiles(
  call: Call,
  rules: QueryRules,
  { identifiersOnly }: { identifiersOnly: boolean },
): ApiResponse {
  const { url } = call;
  return withQuery(call, rules, (query) =>
    withJob(call, (job) => {
      const profiles = [...new Set(job.profiles.map(getSurvivor))].filter((one) => !one.isDeleted);
      const toResource = (profile: Profile): Resource => toProfileResource(profile, call);
      return respondWithPage(profiles, { query, url, toResource, identifiersOnly });
    }),
  );
}

function getImportLists(call: Call): ApiResponse {
  return respondWithJobLists(call, { fields: ['list'] }, { identifiersOnly: false });
}

function getImportListIds(call: Call): ApiResponse {
  return respondWithJobLists(call, { fields: [] }, { identifiersOnly: true });
}

function respondWithJobLists(
  call: Call,
  rules: QueryRules,
  { identifiersOnly }: { identifiersOnly: boolean },
): ApiResponse {
  const { url } = call;
  return withQuery(call, rules, (query) =>
    withJob(call, (job) => {
      const toResource = (list: List): Resource => toListResource(list, url);
      return respondWithPage(findListsOfJob(call, job), {
        query,
        url,
        toResource,
        identifiersOnly,
      });
    }),
  );
}

function findListsOfJob({ account }: Call, { lists }: ImportJob): readonly List[] {
  return lists.flatMap((id) => account.lists.get(id) ?? []);
}

function withJob({ account, id }: Call, respond: (job: ImportJob) => ApiResponse): ApiResponse {
  const job = account.importJobs.get(id);
  return job === undefined
    ? createNotFoundResponse(`A profile-bulk-import-job with id ${id} does not exist.`)
    : respond(job);
}
