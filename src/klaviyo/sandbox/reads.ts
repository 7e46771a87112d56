import type { Call } from './account.js';
import type { RecordedEvent } from './activity.js';
import { toNotFound } from './answer.js';
import type { Answer } from './answer.js';
import type { ImportState } from './imports.js';
import { toText } from './json.js';
import { toSurvivor } from './profiles.js';
import type { Profile } from './profiles.js';
import { toPage, toQuery } from './query.js';
import type { Query, QueryRules } from './query.js';
import {
  toAccountResource,
  toEventResource,
  toImportErrorResource,
  toImportJobResource,
  toMetricResource,
  toProfileResource,
} from './resources.js';
import type { Resource } from './resources.js';

/** Answers `GET` of a list: reads the query and, where it is fine, asks for the answer. */
function list(url: URL, rules: QueryRules, answer: (query: Query) => Answer): Answer {
  const query = toQuery(url, rules);
  return query.ok ? answer(query) : query.refused;
}

export function getAccounts({ url }: Call): Answer {
  return list(url, { fields: ['account'] }, (query) =>
    toPage([url], { query, url, toResource: toAccountResource }),
  );
}

export function getMetrics({ url, account }: Call): Answer {
  const rules = { fields: ['metric', 'flow'], include: ['flow-triggers'], pageSize: 200 };
  return list(url, rules, (query) =>
    toPage(account.activity.metrics(), {
      query,
      url,
      toResource: (metric) => toMetricResource(metric, url),
    }),
  );
}

const profileRules: QueryRules = {
  fields: ['profile'],
  additionalFields: true,
  filter: ['id', 'email', 'phone_number', 'external_id'],
  sort: ['created', '-created', 'email', '-email', 'id', '-id', 'updated', '-updated'],
  maxPageSize: 100,
};

export function getProfiles({ url, account }: Call): Answer {
  return list(url, profileRules, (query) => {
    const found = [...account.profiles.all()].filter((profile) => isWanted(profile, query));
    const sorted = sortBy(found, query.sort, toProfileOrder);
    const toResource = (profile: Profile): Resource => toProfileResource(profile, url);
    return toPage(sorted, { query, url, toResource });
  });
}

function isWanted(profile: Profile, { filter }: Query): boolean {
  if (filter === null) return true;
  const { field, values } = filter;
  const value = field === 'id' ? profile.id : toText(profile.attributes[field]);
  return value !== undefined && values.includes(value);
}

function toProfileOrder(profile: Profile, field: string): string | number {
  if (field === 'created') return profile.createdAt;
  if (field === 'updated') return profile.updatedAt;
  return field === 'id' ? profile.id : (toText(profile.attributes.email) ?? '');
}

/** `sort` is a field, with a minus for descending; stable, and as it is where `sort` is null. */
function sortBy<T>(
  entries: readonly T[],
  sort: string | null,
  toOrder: (entry: T, field: string) => string | number,
): readonly T[] {
  if (sort === null) return entries;
  const sign = sort.startsWith('-') ? -1 : 1;
  const field = sort.replace(/^-/, '');
  return [...entries].sort((a, b) => {
    const [left, right] = [toOrder(a, field), toOrder(b, field)];
    return left === right ? 0 : sign * (left < right ? -1 : 1);
  });
}

export function getProfile({ url, account, id }: Call): Answer {
  const rules = {
    fields: ['profile', 'list', 'segment'],
    additionalFields: true,
    include: ['lists', 'segments'],
  };
  return list(url, rules, (query) => {
    const profile = account.profiles.get(id);
    if (profile === undefined) return toNotFound(`A profile with id ${id} does not exist.`);
    return toOne(toProfileResource(profile, url), query);
  });
}

/** The sandbox has no lists, segments or flows: what `include` asks for is always empty. */
function toOne(resource: Resource, query: Query): Answer {
  const included = query.include.length > 0 ? { included: [] } : {};
  const links = { self: resource.links.self };
  return { status: 200, body: { data: query.pick(resource), links, ...included } };
}

const eventRules: QueryRules = {
  fields: ['event', 'metric', 'profile', 'attribution'],
  filter: ['metric_id', 'profile_id'],
  include: ['metric', 'profile', 'attributions'],
  sort: ['datetime', '-datetime', 'timestamp', '-timestamp'],
  pageSize: 200,
};

/** The newest recorded first where no order is asked for. */
export function getEvents({ url, account, revision }: Call): Answer {
  const bySize = revision.pagesEventsBySize ? { maxPageSize: 1000 } : {};
  return list(url, { ...eventRules, ...bySize }, (query) => {
    const events = account.activity.newest(Infinity).filter(({ metric, profile }) => {
      if (query.filter === null) return true;
      const id = query.filter.field === 'metric_id' ? metric.id : toSurvivor(profile).id;
      return query.filter.values.includes(id);
    });
    return toPage(
      sortBy(events, query.sort, (event) => event.timestamp),
      {
        query,
        url,
        toResource: (event) => toEventResource(event, url),
        toIncluded: (shown) => toEventIncluded(shown, query, url),
      },
    );
  });
}

function toEventIncluded(
  events: readonly RecordedEvent[],
  query: Query,
  url: URL,
): readonly Resource[] {
  const metrics = new Set(events.map(({ metric }) => metric));
  const profiles = new Set(events.map(({ profile }) => toSurvivor(profile)));
  return [
    ...(query.include.includes('metric') ? [...metrics] : []).map((metric) =>
      toMetricResource(metric, url),
    ),
    ...(query.include.includes('profile') ? [...profiles] : []).map((profile) =>
      toProfileResource(profile, url),
    ),
  ];
}

const jobRules: QueryRules = {
  fields: ['profile-bulk-import-job'],
  filter: ['status'],
  sort: ['created_at', '-created_at'],
  maxPageSize: 100,
};

export function getImportJobs({ url, account }: Call): Answer {
  return list(url, jobRules, (query) => {
    const jobs = account.imports
      .all()
      .filter(({ status }) => query.filter?.values.includes(status) ?? true);
    const sorted = sortBy(jobs, query.sort, (job) => job.createdAt);
    return toPage(sorted, { query, url, toResource: (job) => toImportJobResource(job, url) });
  });
}

export function getImportJob(call: Call): Answer {
  const rules = { fields: ['profile-bulk-import-job', 'list'], include: ['lists'] };
  return list(call.url, rules, (query) =>
    withJob(call, (job) => toOne(toImportJobResource(job, call.url), query)),
  );
}

/** Empty until the job has ended. */
export function getImportErrors(call: Call): Answer {
  const { url } = call;
  return list(url, { fields: ['import-error'], maxPageSize: 100 }, (query) =>
    withJob(call, (job) =>
      toPage(job.errors, {
        query,
        url,
        toResource: (error) => toImportErrorResource(error, { jobId: job.id, url }),
      }),
    ),
  );
}

/** As they are now, joined ones as one. */
export function getImportProfiles(call: Call): Answer {
  const { url } = call;
  const rules = { fields: ['profile'], additionalFields: true, maxPageSize: 100 };
  return list(url, rules, (query) =>
    withJob(call, (job) => {
      const profiles = [...new Set(job.profiles.map(toSurvivor))];
      const toResource = (profile: Profile): Resource => toProfileResource(profile, url);
      return toPage(profiles, { query, url, toResource });
    }),
  );
}

function withJob({ account, id }: Call, answer: (job: ImportState) => Answer): Answer {
  const job = account.imports.get(id);
  return job === undefined
    ? toNotFound(`A profile-bulk-import-job with id ${id} does not exist.`)
    : answer(job);
}
