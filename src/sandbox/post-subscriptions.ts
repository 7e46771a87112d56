/**
 * `POST /api/profile-subscription-bulk-create-jobs` and `-delete-jobs`, by Klaviyo's OpenAPI. Both
 * respond with 202 and no body (recorded live: bulk_subscribe_profiles.202.json of
 * github.com/nickdnk/klaviyo-php-sdk).
 */

import { z } from 'zod';
import { checkConsentRequest } from './check-consent.js';
import type { ConsentRules } from './check-consent.js';
import type { ConsentRequest } from './consent-jobs.js';
import { createIssueCollector } from './issues.js';
import { defineOperations } from './operation.js';
import type { Call } from './operation.js';
import { listProfileCandidates, respondUnlessPoisoned } from './poison.js';
import { withQuery } from './query.js';
import { parseFrame } from './request-body.js';
import { createErrorResponse, createTooManyResponse } from './response.js';
import type { ApiResponse } from './response.js';

const scopes = 'lists:write profiles:write subscriptions:write';

export const subscriptionOperations = [
  ...defineOperations('subscribe', {
    'POST /api/profile-subscription-bulk-create-jobs': {
      name: 'bulk_subscribe_profiles',
      tier: 'L',
      scopes,
      handle: bulkSubscribeProfiles,
    },
  }),
  ...defineOperations('unsubscribe', {
    'POST /api/profile-subscription-bulk-delete-jobs': {
      name: 'bulk_unsubscribe_profiles',
      tier: 'L',
      scopes,
      handle: bulkUnsubscribeProfiles,
    },
  }),
];

/** Klaviyo's limits for one job. */
const maxSubscribed = 1000;
const maxUnsubscribed = 100;

const profileList = z.strictObject({ data: z.array(z.unknown()).min(1) });
const relationships = z
  .strictObject({
    list: z
      .strictObject({
        data: z.strictObject({ type: z.literal('list'), id: z.string().min(1) }).optional(),
      })
      .optional(),
  })
  .optional();

/** The profiles are checked by hand, as events are. A list that does not exist is created. */
const subscribeFrame = z.strictObject({
  data: z.strictObject({
    type: z.literal('profile-subscription-bulk-create-job'),
    attributes: z.strictObject({
      profiles: profileList,
      custom_source: z.string().nullish(),
      historical_import: z.boolean().nullish(),
    }),
    relationships,
  }),
});

const unsubscribeFrame = z.strictObject({
  data: z.strictObject({
    type: z.literal('profile-subscription-bulk-delete-job'),
    attributes: z.strictObject({ profiles: profileList }),
    relationships,
  }),
});

function bulkSubscribeProfiles(call: Call): ApiResponse {
  const framed = parseFrame(call.json, subscribeFrame, 'profile-subscription-bulk-create-job');
  if ('invalid' in framed) return framed.invalid;
  const { attributes, relationships: related } = framed.frame.data;
  const isHistorical = attributes.historical_import === true;
  const job = {
    values: attributes.profiles.data,
    max: maxSubscribed,
    rules: { action: 'subscribe', revision: call.revision, isHistorical, now: call.now } as const,
  };
  const listId = related?.list?.data?.id ?? null;
  const source = attributes.custom_source ?? null;
  return startConsentJob(call, job, (requests) => {
    if (listId !== null) call.account.lists.ensure(listId, call.now);
    call.account.consentJobs.subscribe.start({ requests, listId, source, isHistorical });
  });
}

function bulkUnsubscribeProfiles(call: Call): ApiResponse {
  const framed = parseFrame(call.json, unsubscribeFrame, 'profile-subscription-bulk-delete-job');
  if ('invalid' in framed) return framed.invalid;
  const { attributes, relationships: related } = framed.frame.data;
  const { revision, now } = call;
  const job = {
    values: attributes.profiles.data,
    max: maxUnsubscribed,
    rules: { action: 'unsubscribe', revision, isHistorical: false, now } as const,
  };
  const listId = related?.list?.data?.id ?? null;
  return startConsentJob(call, job, (requests) => {
    call.account.consentJobs.unsubscribe.start({ requests, listId });
  });
}

type ConsentJobRequest = {
  readonly values: readonly unknown[];
  readonly max: number;
  readonly rules: ConsentRules;
};

const profilesPath = ['data', 'attributes', 'profiles', 'data'] as const;

/** Checks the profiles and starts the job if all of them are valid. */
function startConsentJob(
  call: Call,
  { values, max, rules }: ConsentJobRequest,
  start: (requests: readonly ConsentRequest[]) => void,
): ApiResponse {
  const count = values.length;
  if (count > max) {
    const pointer = `/${profilesPath.join('/')}`;
    return createTooManyResponse({ noun: 'profiles', max, count, pointer });
  }
  const issues = createIssueCollector();
  const requests = values.flatMap((value, index) => {
    let request: ReturnType<typeof checkConsentRequest>;
    issues.within([...profilesPath, index], () => {
      request = checkConsentRequest(value, rules, issues);
    });
    return request ?? [];
  });
  if (issues.errors().length > 0) return { ...createErrorResponse(400, issues.errors()), count };
  const listCandidates = () => listProfileCandidates(requests, profilesPath);
  return withQuery(call, { fields: [] }, () =>
    respondUnlessPoisoned(call.poisons, { count, listCandidates }, () => {
      start(requests);
      return { status: 202 };
    }),
  );
}
