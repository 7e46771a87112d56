/**
 * Reads of events and metrics, by Klaviyo's OpenAPI.
 */

import type { Call } from './account.js';
import type { Metric, RecordedEvent } from './activity.js';
import { createNotFoundResponse } from './response.js';
import type { ApiResponse } from './response.js';
import {
  comparedNumber,
  comparedTime,
  equalText,
  isMatch,
  oneOfTexts,
  present,
} from './filters.js';
import { getSurvivor } from './profiles.js';
import {
  inBothDirections,
  sortBy,
  respondWithEmptyPage,
  respondWithResource,
  respondWithPage,
  respondWithIdentifier,
  withQuery,
} from './query.js';
import type { Query, QueryRules } from './query.js';
import {
  integration,
  toEventResource,
  toRelationshipLinks,
  toMetricResource,
  toProfileResource,
} from './resources.js';
import type { Resource } from './resources.js';
import type { Revision } from './revisions.js';

const includedInEvents = {
  fields: ['event', 'metric', 'profile', 'attribution'],
  include: ['metric', 'profile', 'attributions'],
};

function getEventQueryRules({ pagesEventsBySize, filtersEventsByHasMetric }: Revision): QueryRules {
  return {
    ...includedInEvents,
    filter: {
      metric_id: oneOfTexts,
      profile_id: equalText,
      profile: present,
      ...(filtersEventsByHasMetric ? { metric: present } : {}),
      datetime: comparedTime,
      timestamp: comparedNumber,
    },
    sort: inBothDirections('datetime', 'timestamp'),
    pageSize: 200,
    ...(pagesEventsBySize ? { maxPageSize: 1000 } : {}),
  };
}

/** Without `sort`, the most recently recorded event comes first. */
export function getEvents(call: Call): ApiResponse {
  const { url, account, revision } = call;
  return withQuery(call, getEventQueryRules(revision), (query) => {
    const events = account.activity
      .newest(Infinity)
      .filter((event) => isMatch(query.filter, (field) => getEventValue(event, field)));
    return respondWithPage(
      sortBy(events, query.sort, (event) => event.timestamp),
      {
        query,
        url,
        toResource: (event) => toEventResource(event, url),
        listIncluded: (shown) => toIncluded(shown, query, url),
      },
    );
  });
}

function getEventValue(
  { metric, profile, timestamp }: RecordedEvent,
  field: string,
): string | number {
  switch (field) {
    case 'metric':
    case 'metric_id':
      return metric.id;
    case 'profile':
    case 'profile_id':
      return getSurvivor(profile).id;
    case 'datetime':
      return timestamp * 1000;
    default:
      return timestamp;
  }
}

function toIncluded(events: readonly RecordedEvent[], query: Query, url: URL): readonly Resource[] {
  const metrics = new Set(events.map(({ metric }) => metric));
  const profiles = new Set(events.map(({ profile }) => getSurvivor(profile)));
  return [
    ...(query.include.includes('metric') ? [...metrics] : []).map((metric) =>
      toMetricResource(metric, url),
    ),
    ...(query.include.includes('profile') ? [...profiles] : []).map((profile) =>
      toProfileResource(profile, url),
    ),
  ];
}

export function getEvent(call: Call): ApiResponse {
  const { url } = call;
  return withQuery(call, includedInEvents, (query) =>
    withEvent(call, (event) =>
      respondWithResource(toEventResource(event, url), query, toIncluded([event], query, url)),
    ),
  );
}

export function getEventMetric(call: Call): ApiResponse {
  return withQuery(call, { fields: ['metric'] }, (query) =>
    withEvent(call, ({ metric }) => respondWithResource(toMetricResource(metric, call.url), query)),
  );
}

export function getEventMetricId(call: Call): ApiResponse {
  const { url, id } = call;
  return withQuery(call, { fields: [] }, () =>
    withEvent(call, ({ metric }) =>
      respondWithIdentifier(
        toMetricResource(metric, url),
        toRelationshipLinks(`/api/events/${id}`, 'metric', url),
      ),
    ),
  );
}

export function getEventProfile(call: Call): ApiResponse {
  const rules = { fields: ['profile'], additionalFields: 'profile' };
  return withQuery(call, rules, (query) =>
    withEvent(call, ({ profile }) =>
      respondWithResource(toProfileResource(getSurvivor(profile), call.url), query),
    ),
  );
}

export function getEventProfileId(call: Call): ApiResponse {
  const { url, id } = call;
  return withQuery(call, { fields: [] }, () =>
    withEvent(call, ({ profile }) =>
      respondWithIdentifier(
        toProfileResource(getSurvivor(profile), url),
        toRelationshipLinks(`/api/events/${id}`, 'profile', url),
      ),
    ),
  );
}

/** Finds the event in the feed, which is bounded. */
function withEvent(
  { account, id }: Call,
  respond: (event: RecordedEvent) => ApiResponse,
): ApiResponse {
  const event = account.activity.newest(Infinity).find((known) => known.id === id);
  return event === undefined
    ? createNotFoundResponse(`An event with id ${id} does not exist.`)
    : respond(event);
}

const includedInMetrics = { fields: ['metric', 'flow'], include: ['flow-triggers'] };

export function getMetrics(call: Call): ApiResponse {
  const { url, account } = call;
  const rules = {
    ...includedInMetrics,
    filter: { 'integration.name': equalText, 'integration.category': equalText },
    pageSize: 200,
  };
  return withQuery(call, rules, (query) => {
    const metrics = account.activity
      .metrics()
      .filter(() =>
        isMatch(query.filter, (field) =>
          field === 'integration.name' ? integration.name : integration.category,
        ),
      );
    return respondWithPage(metrics, {
      query,
      url,
      toResource: (metric) => toMetricResource(metric, url),
    });
  });
}

export function getMetric(call: Call): ApiResponse {
  return withQuery(call, includedInMetrics, (query) =>
    withMetric(call, (metric) => respondWithResource(toMetricResource(metric, call.url), query)),
  );
}

/** Always empty: the sandbox has no flows. */
export function getMetricFlows(call: Call): ApiResponse {
  return withQuery(call, { fields: ['flow'] }, (query) =>
    withMetric(call, () => respondWithEmptyPage(query, call.url)),
  );
}

function withMetric({ account, id }: Call, respond: (metric: Metric) => ApiResponse): ApiResponse {
  const metric = account.activity.metrics().find((known) => known.id === id);
  return metric === undefined
    ? createNotFoundResponse(`A metric with id ${id} does not exist.`)
    : respond(metric);
}
