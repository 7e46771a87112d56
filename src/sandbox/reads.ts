import type { Call } from './account.js';
import { toNotFound } from './answer.js';
import type { Answer } from './answer.js';
import { isMatch, oneOfTexts } from './filters.js';
import type { ImportState } from './imports.js';
import type { List } from './lists.js';
import { toSurvivor } from './profiles.js';
import type { Profile } from './profiles.js';
import { toOne, toPage, withQuery } from './query.js';
import type { QueryRules } from './query.js';
import {
  accountId,
  toAccountResource,
  toImportErrorResource,
  toImportJobResource,
  toListResource,
  toProfileResource,
} from './resources.js';
import type { Resource } from './resources.js';
import { eitherWay, sortBy } from './sort.js';

export function getAccounts(call: Call): Answer {
  const { url } = call;
  return withQuery(call, { fields: ['account'] }, (query) =>
    toPage([url], { query, url, toResource: toAccountResource }),
  );
}

export function getAccount(call: Call): Answer {
  const { url, id } = call;
  return withQuery(call, { fields: ['account'] }, (query) =>
    id === accountId
      ? toOne(toAccountResource(url), query)
      : toNotFound(`An account with id ${id} does not exist.`),
  );
}

/** By the OpenAPI from 2026-04-15 on; earlier files name none. Jobs that were cancelled are not among them. */
const filteredStatuses = ['queued', 'processing', 'complete'];

const jobRules: QueryRules = {
  fields: ['profile-bulk-import-job'],
  filter: { status: { ...oneOfTexts, values: filteredStatuses } },
  sort: eitherWay('created_at'),
  maxPageSize: 100,
};

export function getImportJobs(call: Call): Answer {
  const { url, account } = call;
  return withQuery(call, jobRules, (query) => {
    const jobs = account.imports.all().filter(({ status }) => isMatch(query.filter, () => status));
    const sorted = sortBy(jobs, query.sort, (job) => job.createdAt);
    return toPage(sorted, { query, url, toResource: (job) => toImportJobResource(job, url) });
  });
}

export function getImportJob(call: Call): Answer {
  const { url } = call;
  const rules = { fields: ['profile-bulk-import-job', 'list'], include: ['lists'] };
  return withQuery(call, rules, (query) =>
    withJob(call, (job) => {
      const lists = query.include.includes('lists') ? toLists(call, job) : [];
      const included = lists.map((list) => toListResource(list, url));
      return toOne(toImportJobResource(job, url), query, included);
    }),
  );
}

/** Empty until the job has ended. */
export function getImportErrors(call: Call): Answer {
  const { url } = call;
  return withQuery(call, { fields: ['import-error'], maxPageSize: 100 }, (query) =>
    withJob(call, (job) =>
      toPage(job.errors, {
        query,
        url,
        toResource: (error) => toImportErrorResource(error, { jobId: job.id, url }),
      }),
    ),
  );
}

export function getImportProfiles(call: Call): Answer {
  const rules = { fields: ['profile'], additionalFields: 'profile', maxPageSize: 100 };
  return showProfiles(call, rules, { identifiersOnly: false });
}

export function getImportProfileIds(call: Call): Answer {
  return showProfiles(call, { fields: [], maxPageSize: 100 }, { identifiersOnly: true });
}

/** As they are now, joined ones as one. */
function showProfiles(
  call: Call,
  rules: QueryRules,
  { identifiersOnly }: { identifiersOnly: boolean },
): Answer {
  const { url } = call;
  return withQuery(call, rules, (query) =>
    withJob(call, (job) => {
      const profiles = [...new Set(job.profiles.map(toSurvivor))];
      const toResource = (profile: Profile): Resource => toProfileResource(profile, url);
      return toPage(profiles, { query, url, toResource, identifiersOnly });
    }),
  );
}

export function getImportLists(call: Call): Answer {
  return showLists(call, { fields: ['list'] }, { identifiersOnly: false });
}

export function getImportListIds(call: Call): Answer {
  return showLists(call, { fields: [] }, { identifiersOnly: true });
}

function showLists(
  call: Call,
  rules: QueryRules,
  { identifiersOnly }: { identifiersOnly: boolean },
): Answer {
  const { url } = call;
  return withQuery(call, rules, (query) =>
    withJob(call, (job) => {
      const toResource = (list: List): Resource => toListResource(list, url);
      return toPage(toLists(call, job), { query, url, toResource, identifiersOnly });
    }),
  );
}

function toLists({ account }: Call, { lists }: ImportState): readonly List[] {
  return lists.flatMap((id) => account.lists.get(id) ?? []);
}

function withJob({ account, id }: Call, answer: (job: ImportState) => Answer): Answer {
  const job = account.imports.get(id);
  return job === undefined
    ? toNotFound(`A profile-bulk-import-job with id ${id} does not exist.`)
    : answer(job);
}
