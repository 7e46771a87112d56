/**
 * `POST /api/data-privacy-deletion-jobs` and `POST /api/profile-merge`, by Klaviyo's OpenAPI. Both
 * take effect after a moment.
 */

import { z } from 'zod';
import { checkEmailAndPhone } from './check-profile.js';
import { createIssueCollector } from './issues.js';
import { defineOperations } from './operation.js';
import type { Call } from './operation.js';
import { listProfileCandidates, respondUnlessPoisoned } from './poison.js';
import { withQuery } from './query.js';
import { parseFrame } from './request-body.js';
import {
  createErrorResponse,
  createInvalidError,
  createNotFoundResponse,
  createTooManyResponse,
} from './response.js';
import type { ApiResponse } from './response.js';

export const profileJobOperations = [
  ...defineOperations('deletion', {
    'POST /api/data-privacy-deletion-jobs': {
      name: 'request_profile_deletion',
      tier: 'S',
      scopes: 'data-privacy:write',
      handle: requestProfileDeletion,
    },
  }),
  ...defineOperations('merge', {
    'POST /api/profile-merge': {
      name: 'merge_profiles',
      tier: 'M',
      scopes: 'profiles:write',
      handle: requestProfileMerge,
    },
  }),
];

const deletionFrame = z.strictObject({
  data: z.strictObject({
    type: z.literal('data-privacy-deletion-job'),
    attributes: z.strictObject({
      profile: z.strictObject({
        data: z.strictObject({
          type: z.literal('profile'),
          id: z.string().nullish(),
          attributes: z.strictObject({
            email: z.string().nullish(),
            phone_number: z.string().nullish(),
          }),
        }),
      }),
    }),
  }),
});

const personPath = ['data', 'attributes', 'profile', 'data'] as const;

/** 202 without a body, also if no profile matches. */
function requestProfileDeletion(call: Call): ApiResponse {
  const framed = parseFrame(call.json, deletionFrame, 'data-privacy-deletion-job');
  if ('invalid' in framed) return framed.invalid;
  const { id = null, attributes } = framed.frame.data.attributes.profile.data;
  const issues = createIssueCollector();
  issues.within([...personPath, 'attributes'], () => checkEmailAndPhone(attributes, issues));
  const named = [id, attributes.email, attributes.phone_number].filter((one) => one != null);
  if (named.length !== 1) {
    // Klaviyo documents the error without its text.
    const detail = 'Exactly one of email, phone_number and id is required.';
    issues.within(personPath, () => issues.add(detail));
  }
  if (issues.errors().length > 0) return { ...createErrorResponse(400, issues.errors()), count: 1 };
  return withQuery(call, { fields: [] }, () => {
    const listCandidates = () =>
      listProfileCandidates([{ attributes }], []).map(({ places }) => ({
        prefix: personPath,
        places: places.map((place) => ({ ...place, at: [...personPath, 'attributes'] })),
      }));
    return respondUnlessPoisoned(call.poisons, { count: 1, listCandidates }, () => {
      call.account.profileJobs.deletions.start({ id, attributes });
      return { status: 202 };
    });
  });
}

const mergeFrame = z.strictObject({
  data: z.strictObject({
    type: z.literal('profile-merge'),
    id: z.string().min(1),
    relationships: z.strictObject({
      profiles: z.strictObject({
        data: z.array(z.strictObject({ type: z.literal('profile'), id: z.string().min(1) })).min(1),
      }),
    }),
  }),
});

/** 201 with the profile that remains. */
function requestProfileMerge(call: Call): ApiResponse {
  const { account, url } = call;
  const framed = parseFrame(call.json, mergeFrame, 'profile-merge');
  if ('invalid' in framed) return framed.invalid;
  const { id: destinationId, relationships } = framed.frame.data;
  const sources = relationships.profiles.data;
  const [source] = sources;
  const pointer = '/data/relationships/profiles/data';
  const count = sources.length;
  if (source === undefined || count > 1) {
    return createTooManyResponse({ noun: 'source profiles', max: 1, count, pointer });
  }
  if (source.id === destinationId) {
    const detail = 'A profile cannot be merged into itself.';
    return createErrorResponse(400, [createInvalidError(detail, { pointer: `${pointer}/0/id` })]);
  }
  const missing = [destinationId, source.id].find((id) => account.profiles.get(id) === undefined);
  if (missing !== undefined) {
    return createNotFoundResponse(`A profile with id ${missing} does not exist.`);
  }
  const fields = call.revision.selectsFieldsOfNewJobs ? ['profile'] : [];
  return withQuery(call, { fields }, () => {
    account.profileJobs.merges.start({ sourceId: source.id, destinationId });
    const links = { self: new URL(`/api/profiles/${destinationId}`, url).href };
    const data = { type: 'profile', id: destinationId, links };
    return { status: 201, count: 1, body: { data, links: { self: url.href } } };
  });
}
