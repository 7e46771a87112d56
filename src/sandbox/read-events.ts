/**
 * Reads of events and metrics, by Klaviyo's OpenAPI.
 */

import { defineOperations } from './operation.js';
import type { Call } from './operation.js';
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
import type { Resource, ResourceContext } from './resources.js';
import type { Revision } from './revisions.js';

export const eventReadOperations = [
  ...defineOperations('read-events', {
    'GET /api/events': { name: 'get_events', tier: 'XL', scopes: 'events:read', handle: getEvents },
    'GET /api/events/{id}': {
      name: 'get_event',
      tier: 'M',
      scopes: 'events:read',
      handle: getEvent,
    },
    'GET /api/events/{id}/metric': {
      name: 'get_event_metric',
      tier: 'XL',
      scopes: 'events:read metrics:read',
      handle: getEventMetric,
    },
    'GET /api/events/{id}/relationships/metric': {
      name: 'get_event_metric_id',
      tier: 'XL',
      scopes: 'events:read metrics:read',
      handle: getEventMetricId,
    },
    'GET /api/events/{id}/profile': {
      name: 'get_event_profile',
      tier: 'XL',
      scopes: 'events:read profiles:read',
      handle: getEventProfile,
    },
    'GET /api/events/{id}/relationships/profile': {
      name: 'get_event_profile_id',
      tier: 'XL',
      scopes: 'events:read profiles:read',
      handle: getEventProfileId,
    },
  }),
  ...defineOperations('metrics', {
    'GET /api/metrics': {
      name: 'get_metrics',
      tier: 'M',
      scopes: 'metrics:read',
      handle: getMetrics,
    },
    'GET /api/metrics/{id}': {
      name: 'get_metric',
      tier: 'M',
      scopes: 'metrics:read',
      handle: getMetric,
    },
    'GET /api/metrics/{id}/flow-triggers': {
      name: 'get_metric_flows',
      tier: 'M',
      scopes: 'flows:read metrics:read',
      handle: getMetricFlows,
    },
    'GET /api/metrics/{id}/relationships/flow-triggers': {
      name: 'get_metric_flows',
      tier: 'M',
      scopes: 'flows:read metrics:read',
      handle: getMetricFlows,
    },
  }),
];

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
function getEvents(call: Call): ApiResponse {
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
        listIncluded: (shown) => toIncluded(shown, query, call),
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

function toIncluded(
  events: readonly RecordedEvent[],
  query: Query,
  context: ResourceContext,
): readonly Resource[] {
  const metrics = new Set(events.map(({ metric }) => metric));
  const profiles = new Set(events.map(({ profile }) => getSurvivor(profile)));
  return [
    ...(query.include.includes('metric') ? [...metrics] : []).map((metric) =>
      toMetricResource(metric, context.url),
    ),
    ...(query.include.includes('profile') ? [...profiles] : []).map((profile) =>
      toProfileResource(profile, context),
    ),
  ];
}

function getEvent(call: Call): ApiResponse {
  const { url } = call;
  return withQuery(call, includedInEvents, (query) =>
    withEvent(call, (event) =>
      respondWithResource(toEventResource(event, url), query, toIncluded([event], query, call)),
    ),
  );
}

function getEventMetric(call: Call): ApiResponse {
  return withQuery(call, { fields: ['metric'] }, (query) =>
    withEvent(call, ({ metric }) => respondWithResource(toMetricResource(metric, call.url), query)),
  );
}

function getEventMetricId(call: Call): ApiResponse {
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

function getEventProfile(call: Call): ApiResponse {
  const rules = { fields: ['profile'], additionalFields: 'profile' };
  return withQuery(call, rules, (query) =>
    withEvent(call, ({ profile }) =>
      respondWithResource(toProfileResource(getSurvivor(profile), call), query),
    ),
  );
}

function getEventProfileId(call: Call): ApiResponse {
  const { url, id } = call;
  return withQuery(call, { fields: [] }, () =>
    withEvent(call, ({ profile }) =>
      respondWithIdentifier(
        toProfileResource(getSurvivor(profile), call),
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

function getMetrics(call: Call): ApiResponse {
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

function getMetric(call: Call): ApiResponse {
  return withQuery(call, includedInMetrics, (query) =>
    withMetric(call, (metric) => respondWithResource(toMetricResource(metric, call.url), query)),
  );
}

/** Always empty: the sandbox has no flows. */
function getMetricFlows(call: Call): ApiResponse {
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
