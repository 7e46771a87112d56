/**
 * The operations that write profiles: single import, creation and update, and bulk import jobs, by
 * Klaviyo's OpenAPI.
 */

import { z } from 'zod';
import { getOwnMember } from './json.js';
import { defineOperations } from './operation.js';
import type { Call } from './operation.js';
import { isTestAddress } from './activity.js';
import {
  createErrorResponse,
  createInvalidError,
  createNotFoundResponse,
  createTooManyResponse,
} from './response.js';
import type { ApiResponse } from './response.js';
import { createIssueCollector } from './issues.js';
import { checkProfile, maxProfileBytes } from './check-profile.js';
import type { ProfileInput } from './check-profile.js';
import { parseFrame } from './request-body.js';
import { listProfileCandidates, respondUnlessPoisoned } from './poison.js';
import type { PoisonCandidate } from './poison.js';
import { createProfiles } from './profiles.js';
import type { Profile } from './profiles.js';
import { respondWithResource, withQuery } from './query.js';
import type { Query } from './query.js';
import { toImportJobResource, toProfileResource } from './resources.js';

export const profileWriteOperations = [
  ...defineOperations('profile-import', {
    'POST /api/profile-import': {
      name: 'create_or_update_profile',
      tier: 'L',
      scopes: 'profiles:write',
      handle: importProfile,
    },
  }),
  ...defineOperations('bulk-profiles', {
    'POST /api/profile-bulk-import-jobs': {
      name: 'bulk_import_profiles',
      tier: 'M',
      scopes: 'lists:write profiles:write',
      handle: bulkImportProfiles,
    },
  }),
  ...defineOperations('write-profiles', {
    'POST /api/profiles': {
      name: 'create_profile',
      tier: 'L',
      scopes: 'profiles:write',
      handle: createProfile,
    },
    'PATCH /api/profiles/{id}': {
      name: 'update_profile',
      tier: 'L',
      scopes: 'profiles:write',
      handle: updateProfile,
    },
  }),
];

/** Klaviyo's limit for one import job. */
export const maxProfilesPerRequest = 10_000;

const bulkPath = ['data', 'attributes', 'profiles', 'data'] as const;

/** As for events, the list is checked by hand. A list that does not exist is created. */
const bulkFrame = z.strictObject({
  data: z.strictObject({
    type: z.literal('profile-bulk-import-job'),
    attributes: z.strictObject({
      profiles: z.strictObject({ data: z.array(z.unknown()).min(1) }),
    }),
    relationships: z
      .strictObject({
        lists: z
          .strictObject({
            data: z.array(z.strictObject({ type: z.literal('list'), id: z.string().min(1) })),
          })
          .optional(),
      })
      .optional(),
  }),
});

const profileQueryRules = { fields: ['profile'], additionalFields: 'profile' };

/** `POST /api/profile-import`: 201 for a new profile, 200 for an existing one. */
function importProfile(call: Call): ApiResponse {
  return writeProfile(call, 'import', (profile) => upsertProfile(call, profile));
}

/** `POST /api/profiles`: 201, or 409 if a profile has one of these identifiers. */
function createProfile(call: Call): ApiResponse {
  return writeProfile(
    call,
    'create',
    (profile) => findDuplicate(call, profile, null) ?? upsertProfile(call, profile),
  );
}

/**
 * `PATCH /api/profiles/{id}`: 200; 404 if it does not exist; 409 if another profile has one of
 * these identifiers.
 */
function updateProfile(call: Call): ApiResponse {
  const { account, id } = call;
  return writeProfile(call, 'update', (profile) => {
    if (profile.id !== id) {
      const detail = 'The id of the resource must be the one in the path.';
      return createErrorResponse(400, [createInvalidError(detail, { pointer: '/data/id' })]);
    }
    if (account.profiles.get(id) === undefined) {
      return createNotFoundResponse(`A profile with id ${id} does not exist.`);
    }
    const duplicate = findDuplicate(call, profile, id);
    if (duplicate !== null) return duplicate;
    const updated = account.profiles.upsert(profile, { at: call.now, nullClears: true });
    return { profile: updated.profile, status: 200 };
  });
}

/** Checks the profile of the body, writes it and responds with it as the query asks. */
function writeProfile(
  call: Call,
  context: 'import' | 'create' | 'update',
  write: (profile: ProfileInput) => ApiResponse | Written,
): ApiResponse {
  return withQuery(call, profileQueryRules, (query) => {
    const issues = createIssueCollector();
    const found: { profile?: ProfileInput | undefined } = {};
    const rules = { revision: call.revision, maxBytes: maxProfileBytes, context };
    issues.within(['data'], () => {
      found.profile = checkProfile(getOwnMember(call.json, 'data'), rules, issues);
    });
    const { profile } = found;
    if (profile === undefined || issues.errors().length > 0) {
      return { ...createErrorResponse(400, issues.errors()), count: 1 };
    }
    const at = ['data', 'attributes'];
    const listCandidates = (): PoisonCandidate[] => [
      { prefix: at, places: [{ at, attributes: profile.attributes }] },
    ];
    return respondUnlessPoisoned(call.poisons, { count: 1, listCandidates }, () => {
      const written = write(profile);
      if (!('profile' in written)) return written;
      const resource = toProfileResource(written.profile, call);
      return { ...respondWithResource(resource, query), status: written.status };
    });
  });
}

type Written = { readonly profile: Profile; readonly status: 200 | 201 };

function upsertProfile({ account, now }: Call, input: ProfileInput): Written {
  const dropped = isTestAddress(input.attributes.email);
  // A dropped profile gets a normal response, made from a collection that is discarded.
  const target = dropped ? createProfiles() : account.profiles;
  if (dropped) {
    account.counters.silentlyDropped++;
    account.counters.droppedTestAddress++;
  } else account.counters.imported++;
  const { profile, created } = target.upsert(input, { at: now, nullClears: true });
  return { profile, status: created ? 201 : 200 };
}

/** Recorded live at revision 2026-07-15. */
function findDuplicate(
  { account }: Call,
  { attributes }: ProfileInput,
  id: string | null,
): ApiResponse | null {
  const other = account.profiles.findOther(attributes, id);
  if (other === undefined) return null;
  return createErrorResponse(409, [
    {
      code: 'duplicate_profile',
      title: 'Conflict.',
      detail: 'A profile already exists with one of these identifiers.',
      source: { pointer: '/data/attributes' },
      meta: { duplicate_profile_id: other.id },
    },
  ]);
}

/** `POST /api/profile-bulk-import-jobs`: 202 with the queued job, or 400 and no job. */
function bulkImportProfiles(call: Call): ApiResponse {
  return withQuery(call, { fields: ['profile-bulk-import-job'] }, (query) =>
    createImportJob(call, query),
  );
}

function createImportJob(call: Call, query: Query): ApiResponse {
  const framed = parseFrame(call.json, bulkFrame, 'profile-bulk-import-job');
  if ('invalid' in framed) return framed.invalid;
  const { attributes, relationships } = framed.frame.data;
  const values = attributes.profiles.data;
  const count = values.length;
  if (count > maxProfilesPerRequest) {
    const pointer = '/data/attributes/profiles/data';
    return createTooManyResponse({ noun: 'profiles', max: maxProfilesPerRequest, count, pointer });
  }
  const issues = createIssueCollector();
  const profiles: ProfileInput[] = [];
  const rules = { revision: call.revision, maxBytes: maxProfileBytes, context: 'import' } as const;
  for (const [index, value] of values.entries()) {
    issues.within([...bulkPath, index], () => {
      const profile = checkProfile(value, rules, issues);
      if (profile !== undefined) profiles.push(profile);
    });
  }
  if (issues.errors().length > 0) return { ...createErrorResponse(400, issues.errors()), count };
  const lists = relationships?.lists?.data.map(({ id }) => id) ?? [];
  return startImportJob(call, { profiles, lists, query });
}

function startImportJob(
  call: Call,
  { profiles, lists, query }: { profiles: ProfileInput[]; lists: readonly string[]; query: Query },
): ApiResponse {
  const records = {
    count: profiles.length,
    listCandidates: () => listProfileCandidates(profiles, bulkPath),
  };
  return respondUnlessPoisoned(call.poisons, records, (failures) => {
    const entries = profiles.map((profile, index) => ({
      profile,
      failure: failures.get(index) ?? null,
    }));
    const job = call.account.importJobs.create(entries, lists);
    return { ...respondWithResource(toImportJobResource(job, call.url), query), status: 202 };
  });
}
