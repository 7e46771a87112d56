import type { Call } from './account.js';
import type { Metric, RecordedEvent } from './activity.js';
import { toNotFound } from './answer.js';
import type { Answer } from './answer.js';
import {
  comparedNumber,
  comparedTime,
  equalText,
  isMatch,
  oneOfTexts,
  present,
} from './filters.js';
import { toSurvivor } from './profiles.js';
import { toEmptyPage, toOne, toPage, toRelated, withQuery } from './query.js';
import type { Query, QueryRules } from './query.js';
import {
  integration,
  toEventResource,
  toLinks,
  toMetricResource,
  toProfileResource,
} from './resources.js';
import type { Resource } from './resources.js';
import type { Revision } from './revisions.js';
import { eitherWay, sortBy } from './sort.js';

const includedInEvents = {
  fields: ['event', 'metric', 'profile', 'attribution'],
  include: ['metric', 'profile', 'attributions'],
};

function toEventRules({ pagesEventsBySize, filtersEventsByHasMetric }: Revision): QueryRules {
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
    sort: eitherWay('datetime', 'timestamp'),
    pageSize: 200,
    ...(pagesEventsBySize ? { maxPageSize: 1000 } : {}),
  };
}

/** The newest recorded first where no order is asked for. */
export function getEvents(call: Call): Answer {
  const { url, account, revision } = call;
  return withQuery(call, toEventRules(revision), (query) => {
    const events = account.activity
      .newest(Infinity)
      .filter((event) => isMatch(query.filter, (field) => toFilterValue(event, field)));
    return toPage(
      sortBy(events, query.sort, (event) => event.timestamp),
      {
        query,
        url,
        toResource: (event) => toEventResource(event, url),
        toIncluded: (shown) => toIncluded(shown, query, url),
      },
    );
  });
}

function toFilterValue(
  { metric, profile, timestamp }: RecordedEvent,
  field: string,
): string | number {
  switch (field) {
    case 'metric':
    case 'metric_id':
      return metric.id;
    case 'profile':
    case 'profile_id':
      return toSurvivor(profile).id;
    case 'datetime':
      return timestamp * 1000;
    default:
      return timestamp;
  }
}

function toIncluded(events: readonly RecordedEvent[], query: Query, url: URL): readonly Resource[] {
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

export function getEvent(call: Call): Answer {
  const { url } = call;
  return withQuery(call, includedInEvents, (query) =>
    withEvent(call, (event) =>
      toOne(toEventResource(event, url), query, toIncluded([event], query, url)),
    ),
  );
}

export function getEventMetric(call: Call): Answer {
  return withQuery(call, { fields: ['metric'] }, (query) =>
    withEvent(call, ({ metric }) => toOne(toMetricResource(metric, call.url), query)),
  );
}

export function getEventMetricId(call: Call): Answer {
  const { url, id } = call;
  return withQuery(call, { fields: [] }, () =>
    withEvent(call, ({ metric }) =>
      toRelated(toMetricResource(metric, url), toLinks(`/api/events/${id}`, 'metric', url)),
    ),
  );
}

export function getEventProfile(call: Call): Answer {
  const rules = { fields: ['profile'], additionalFields: 'profile' };
  return withQuery(call, rules, (query) =>
    withEvent(call, ({ profile }) =>
      toOne(toProfileResource(toSurvivor(profile), call.url), query),
    ),
  );
}

export function getEventProfileId(call: Call): Answer {
  const { url, id } = call;
  return withQuery(call, { fields: [] }, () =>
    withEvent(call, ({ profile }) =>
      toRelated(
        toProfileResource(toSurvivor(profile), url),
        toLinks(`/api/events/${id}`, 'profile', url),
      ),
    ),
  );
}

/** As far as the feed keeps events. */
function withEvent({ account, id }: Call, answer: (event: RecordedEvent) => Answer): Answer {
  const event = account.activity.newest(Infinity).find((known) => known.id === id);
  return event === undefined ? toNotFound(`An event with id ${id} does not exist.`) : answer(event);
}

const includedInMetrics = { fields: ['metric', 'flow'], include: ['flow-triggers'] };

export function getMetrics(call: Call): Answer {
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
    return toPage(metrics, { query, url, toResource: (metric) => toMetricResource(metric, url) });
  });
}

export function getMetric(call: Call): Answer {
  return withQuery(call, includedInMetrics, (query) =>
    withMetric(call, (metric) => toOne(toMetricResource(metric, call.url), query)),
  );
}

/** The sandbox has no flows. */
export function getMetricFlows(call: Call): Answer {
  return withQuery(call, { fields: ['flow'] }, (query) =>
    withMetric(call, () => toEmptyPage(query, call.url)),
  );
}

function withMetric({ account, id }: Call, answer: (metric: Metric) => Answer): Answer {
  const metric = account.activity.metrics().find((known) => known.id === id);
  return metric === undefined
    ? toNotFound(`A metric with id ${id} does not exist.`)
    : answer(metric);
}
