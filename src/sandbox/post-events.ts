/**
 * `POST /api/events` and `POST /api/event-bulk-create-jobs`, by Klaviyo's OpenAPI. Klaviyo accepts
 * or rejects a request as a whole: one invalid event fails all of them.
 */

import { z } from 'zod';
import { isJsonObject } from '../json/json.js';
import { getOwnMember } from './json.js';
import { defineOperations } from './operation.js';
import type { Call } from './operation.js';
import { createErrorResponse, createInvalidError } from './response.js';
import type { ApiResponse } from './response.js';
import { createIssueCollector } from './issues.js';
import type { IssueCollector } from './issues.js';
import { checkEvent } from './check-event.js';
import type { EventInput } from './check-event.js';
import { checkProfile, isNotNullish, maxEventProfileBytes } from './check-profile.js';
import type { ProfileInput } from './check-profile.js';
import { checkMemberNames, checkResource } from './check-value.js';
import { parseFrame } from './request-body.js';
import { respondUnlessPoisoned } from './poison.js';
import type { PoisonCandidate } from './poison.js';

export const eventWriteOperations = [
  ...defineOperations('events', {
    'POST /api/events': {
      name: 'create_event',
      tier: 'XL',
      scopes: 'events:write',
      handle: createEvent,
    },
  }),
  ...defineOperations('bulk-events', {
    'POST /api/event-bulk-create-jobs': {
      name: 'bulk_create_events',
      tier: 'M',
      scopes: 'events:write',
      handle: bulkCreateEvents,
    },
  }),
];

/** Klaviyo's limit for one bulk request, over all profiles. */
export const maxEventsPerRequest = 1000;

const bulkPath = ['data', 'attributes', 'events-bulk-create', 'data'] as const;
const wrapperMembers = new Set(['type', 'attributes']);
const wrapperFields = new Set(['profile', 'events']);
const wrapperFieldsWithBackfill = new Set([...wrapperFields, 'backfill']);
const dataMember = new Set(['data']);

/** The outer frame alone. The list is checked by hand, because zod would be too slow for it. */
const bulkFrame = z.strictObject({
  data: z.strictObject({
    type: z.literal('event-bulk-create-job'),
    attributes: z.strictObject({
      'events-bulk-create': z.strictObject({ data: z.array(z.unknown()).min(1) }),
    }),
  }),
});

/**
 * One element of a bulk request: a profile and its events. `index` is its position in the request.
 */
type CheckedWrapper = {
  readonly index: number;
  readonly profile: ProfileInput;
  readonly events: readonly EventInput[];
};

/** Responds with 202 and an empty body. */
function createEvent(call: Call): ApiResponse {
  const issues = createIssueCollector();
  const found: { profile?: ProfileInput | undefined; event?: EventInput | undefined } = {};
  const source = getOwnMember(call.json, 'data');
  issues.within(['data'], () => {
    found.event = checkEvent(source, { ...call, withProfile: true }, issues);
    const wrapped = getOwnMember(getOwnMember(source, 'attributes'), 'profile');
    issues.within(['attributes', 'profile', 'data'], () => {
      found.profile = checkProfile(
        getOwnMember(wrapped, 'data'),
        { revision: call.revision, maxBytes: maxEventProfileBytes, context: 'event' },
        issues,
      );
    });
  });
  const { profile, event } = found;
  if (issues.errors().length > 0 || profile === undefined || event === undefined) {
    return { ...createErrorResponse(400, issues.errors()), count: 1 };
  }
  const at = ['data', 'attributes'] as const;
  const listCandidates = (): PoisonCandidate[] => [
    {
      prefix: at,
      places: [
        { at, attributes: event.attributes },
        { at: [...at, 'profile', 'data', 'attributes'], attributes: profile.attributes },
      ],
    },
  ];
  return recordEvents(call, [{ index: 0, profile, events: [event] }], listCandidates);
}

/** Responds with 202 and an empty body, or with 400 and records nothing. */
function bulkCreateEvents(call: Call): ApiResponse {
  const framed = parseFrame(call.json, bulkFrame, 'event-bulk-create-job');
  if ('invalid' in framed) return framed.invalid;
  const wrappers = framed.frame.data.attributes['events-bulk-create'].data;
  const count = countEvents(wrappers);
  if (count > maxEventsPerRequest) return { ...createTooManyEventsResponse(), count };
  const issues = createIssueCollector();
  const checked: CheckedWrapper[] = [];
  issues.within(bulkPath, () => {
    for (const [index, wrapper] of wrappers.entries()) {
      issues.within([index], () => {
        const one = checkWrapper(wrapper, call, issues);
        if (one !== undefined) checked.push({ index, ...one });
      });
    }
    if (issues.errors().length === 0) checkRepeatedIds(checked, call, issues);
  });
  if (issues.errors().length > 0) return { ...createErrorResponse(400, issues.errors()), count };
  return recordEvents(call, checked, () => listBulkCandidates(checked));
}

/** Records the events unless a poison rule rejects them or replaces the response. */
function recordEvents(
  call: Call,
  checked: readonly CheckedWrapper[],
  listCandidates: () => PoisonCandidate[],
): ApiResponse {
  const count = checked.reduce((sum, { events }) => sum + events.length, 0);
  return respondUnlessPoisoned(call.poisons, { count, listCandidates }, () => {
    for (const { profile, events } of checked) {
      for (const event of events) call.account.activity.record(profile, event, call.now);
    }
    return { status: 202 };
  });
}

/** Runs before the checks: an invalid wrapper counts as one event. */
function countEvents(wrappers: readonly unknown[]): number {
  let count = 0;
  for (const wrapper of wrappers) {
    const events = getOwnMember(
      getOwnMember(getOwnMember(wrapper, 'attributes'), 'events'),
      'data',
    );
    count += Array.isArray(events) ? events.length : 1;
  }
  return count;
}

function createTooManyEventsResponse(): ApiResponse {
  const detail = `The maximum number of events per request is ${maxEventsPerRequest}.`;
  return createErrorResponse(400, [
    createInvalidError(detail, { pointer: '/data/attributes/events-bulk-create/data' }),
  ]);
}

function checkWrapper(
  wrapper: unknown,
  call: Call,
  issues: IssueCollector,
): Omit<CheckedWrapper, 'index'> | undefined {
  const found = checkResource(
    wrapper,
    { type: 'event-bulk-create', members: wrapperMembers },
    issues,
  );
  if (found === undefined) return undefined;
  const { profile: profileFrame, events: eventsFrame, backfill } = found.attributes;
  const events: EventInput[] = [];
  let profile: ProfileInput | undefined;
  issues.within(['attributes'], () => {
    const fields = call.revision.takesBackfill ? wrapperFieldsWithBackfill : wrapperFields;
    checkMemberNames(found.attributes, { fields, resource: 'event-bulk-create' }, issues);
    if (isNotNullish(backfill) && typeof backfill !== 'boolean') {
      issues.add('backfill must be true or false.', 'backfill');
    }
    issues.within(['profile'], () => checkDataMember(profileFrame, issues));
    issues.within(['profile', 'data'], () => {
      profile = checkProfile(
        getOwnMember(profileFrame, 'data'),
        { revision: call.revision, maxBytes: maxEventProfileBytes, context: 'bulk-event' },
        issues,
      );
    });
    issues.within(['events'], () => checkDataMember(eventsFrame, issues));
    issues.within(['events', 'data'], () => {
      events.push(...checkEvents(getOwnMember(eventsFrame, 'data'), call, issues));
    });
  });
  if (profile === undefined) return undefined;
  return { profile, events: events.map((event) => applyBackfill(backfill, event)) };
}

/** `backfill` of the wrapper applies to its events that do not set it. */
function applyBackfill(wrapper: unknown, event: EventInput): EventInput {
  return wrapper === true && event.backfill === null ? { ...event, backfill: true } : event;
}

function checkDataMember(frame: unknown, issues: IssueCollector): void {
  if (isJsonObject(frame))
    checkMemberNames(frame, { fields: dataMember, resource: 'event-bulk-create' }, issues);
}

/** An empty list is invalid: each wrapper needs at least one event. */
function checkEvents(data: unknown, call: Call, issues: IssueCollector): EventInput[] {
  if (!Array.isArray(data) || data.length === 0) {
    issues.add('A list of at least one event is required.');
    return [];
  }
  const events: EventInput[] = [];
  const rules = { now: call.now, revision: call.revision, withProfile: false };
  for (const [index, value] of data.entries()) {
    issues.within([index], () => {
      const event = checkEvent(value, rules, issues);
      if (event !== undefined) events.push(event);
    });
  }
  return events;
}

/**
 * The same `unique_id` twice for one profile and metric in one request fails the request; at older
 * revisions only the first is recorded. The counter includes both cases, because no client intends
 * them.
 */
function checkRepeatedIds(
  checked: readonly CheckedWrapper[],
  call: Call,
  issues: IssueCollector,
): void {
  const { counters, profiles } = call.account;
  const seen = new Set<string>();
  for (const { index, profile, events } of checked) {
    const identity = profiles.listIdentityKeys(profile);
    for (const [place, { metric, uniqueId }] of events.entries()) {
      if (uniqueId === null) continue;
      const ids = identity.map((one) => `${one}\n${metric}\n${uniqueId}`);
      const isRepeated = ids.some((id) => seen.has(id));
      for (const id of ids) seen.add(id);
      if (!isRepeated) continue;
      counters.repeatsInRequest++;
      if (!call.revision.failsOnRepeatedUniqueId) continue;
      issues.add(
        `The unique_id '${uniqueId}' is used more than once for the same profile and metric.`,
        ...[index, 'attributes', 'events', 'data', place, 'attributes', 'unique_id'],
      );
    }
  }
}

function listBulkCandidates(checked: readonly CheckedWrapper[]): PoisonCandidate[] {
  return checked.flatMap(({ index, profile, events }) => {
    const prefix = [...bulkPath, index];
    const person = {
      at: [...prefix, 'attributes', 'profile', 'data', 'attributes'],
      attributes: profile.attributes,
    };
    return events.map(({ attributes }, place) => {
      const at = [...prefix, 'attributes', 'events', 'data', place, 'attributes'];
      return { prefix, places: [{ at, attributes }, person] };
    });
  });
}
