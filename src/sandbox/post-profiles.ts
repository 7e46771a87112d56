import { z } from 'zod';
import type { Call } from './account.js';
import { isTestAddress } from './activity.js';
import { toErrors, toInvalid, toNotFound } from './answer.js';
import type { Answer } from './answer.js';
import { createBlame } from './blame.js';
import { checkProfile, maxProfileBytes } from './check-profile.js';
import type { ProfileInput } from './check-profile.js';
import { isAnswering } from './faults.js';
import { toFrame } from './frame.js';
import { toMember } from './json.js';
import { judgePoison } from './poison.js';
import type { Suspect } from './poison.js';
import { createProfileBook } from './profiles.js';
import type { Profile } from './profiles.js';
import { toOne, withQuery } from './query.js';
import type { Query } from './query.js';
import { toImportJobResource, toProfileResource } from './resources.js';

/** Klaviyo's cap on one import job. */
export const maxProfilesPerRequest = 10_000;

const bulkPath = ['data', 'attributes', 'profiles', 'data'] as const;

/** As with events, the list itself is walked by hand. Lists are taken without question: one that is named comes into being. */
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

const answeredProfile = { fields: ['profile'], additionalFields: 'profile' };

/** `POST /api/profile-import`: 201 with a new profile, 200 with one that was known. */
export function importProfile(call: Call): Answer {
  return writeProfile(call, 'import', (profile) => upsert(call, profile));
}

/** `POST /api/profiles`: 201, or 409 with the profile that has one of these identifiers. */
export function createProfile(call: Call): Answer {
  return writeProfile(
    call,
    'create',
    (profile) => toDuplicate(call, profile, null) ?? upsert(call, profile),
  );
}

/** `PATCH /api/profiles/{id}`: 200; 404 where there is none, 409 where another has one of these identifiers. */
export function updateProfile(call: Call): Answer {
  const { account, id } = call;
  return writeProfile(call, 'update', (profile) => {
    if (profile.id !== id) {
      const detail = 'The id of the resource must be the one in the path.';
      return toErrors(400, [toInvalid(detail, { pointer: '/data/id' })]);
    }
    if (account.profiles.get(id) === undefined) {
      return toNotFound(`A profile with id ${id} does not exist.`);
    }
    const duplicate = toDuplicate(call, profile, id);
    if (duplicate !== null) return duplicate;
    const updated = account.profiles.upsert(profile, { at: call.now, nullClears: true });
    return { profile: updated.profile, status: 200 };
  });
}

/** Checks the profile of the body and has it written; what was written is shown as the query asks. */
function writeProfile(
  call: Call,
  within: 'import' | 'create' | 'update',
  write: (profile: ProfileInput) => Answer | Written,
): Answer {
  return withQuery(call, answeredProfile, (query) => {
    const blame = createBlame();
    const found: { profile?: ProfileInput | undefined } = {};
    const rules = { revision: call.revision, maxBytes: maxProfileBytes, within };
    blame.within(['data'], () => {
      found.profile = checkProfile(toMember(call.json, 'data'), rules, blame);
    });
    const { profile } = found;
    if (profile === undefined || blame.errors().length > 0) {
      return { ...toErrors(400, blame.errors()), count: 1 };
    }
    const at = ['data', 'attributes'];
    const { errors, effect } = judgePoison(call.poisons, () => [
      { prefix: at, places: [{ at, attributes: profile.attributes }] },
    ]);
    if (errors.length > 0) return { ...toErrors(400, errors), count: 1 };
    if (effect !== null && isAnswering(effect)) return { status: 200, count: 1, effect };
    const written = write(profile);
    const answer =
      'profile' in written
        ? { ...toOne(toProfileResource(written.profile, call.url), query), status: written.status }
        : written;
    return { ...answer, count: 1, ...(effect === null ? {} : { effect }) };
  });
}

type Written = { readonly profile: Profile; readonly status: 200 | 201 };

function upsert({ account, now }: Call, input: ProfileInput): Written {
  const dropped = isTestAddress(input.attributes.email);
  // A dropped address is answered like any other, from a book that is thrown away.
  const book = dropped ? createProfileBook() : account.profiles;
  if (dropped) {
    account.counters.silentlyDropped++;
    account.counters.droppedTestAddress++;
  } else account.counters.imported++;
  const { profile, created } = book.upsert(input, { at: now, nullClears: true });
  return { profile, status: created ? 201 : 200 };
}

/** Recorded live at revision 2026-07-15. */
function toDuplicate(
  { account }: Call,
  { attributes }: ProfileInput,
  id: string | null,
): Answer | null {
  const other = account.profiles.findOther(attributes, id);
  if (other === undefined) return null;
  return toErrors(409, [
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
export function bulkImportProfiles(call: Call): Answer {
  return withQuery(call, { fields: ['profile-bulk-import-job'] }, (query) =>
    importProfiles(call, query),
  );
}

function importProfiles(call: Call, query: Query): Answer {
  const framed = toFrame(call.json, bulkFrame, 'profile-bulk-import-job');
  if ('refused' in framed) return framed.refused;
  const { attributes, relationships } = framed.frame.data;
  const values = attributes.profiles.data;
  const count = values.length;
  if (count > maxProfilesPerRequest) {
    const detail = `The maximum number of profiles per request is ${maxProfilesPerRequest}.`;
    const errors = [toInvalid(detail, { pointer: '/data/attributes/profiles/data' })];
    return { ...toErrors(400, errors), count };
  }
  const blame = createBlame();
  const profiles: ProfileInput[] = [];
  const rules = { revision: call.revision, maxBytes: maxProfileBytes, within: 'import' } as const;
  for (const [index, value] of values.entries()) {
    blame.within([...bulkPath, index], () => {
      const profile = checkProfile(value, rules, blame);
      if (profile !== undefined) profiles.push(profile);
    });
  }
  if (blame.errors().length > 0) return { ...toErrors(400, blame.errors()), count };
  const lists = relationships?.lists?.data.map(({ id }) => id) ?? [];
  return startJob(call, { profiles, lists, query });
}

/** Poison that waits for the job does not show in the answer. */
function startJob(
  call: Call,
  { profiles, lists, query }: { profiles: ProfileInput[]; lists: readonly string[]; query: Query },
): Answer {
  const count = profiles.length;
  const verdict = judgePoison(call.poisons, () => toSuspects(profiles));
  if (verdict.errors.length > 0) return { ...toErrors(400, verdict.errors), count };
  const effect = verdict.effect === null ? {} : { effect: verdict.effect };
  if (verdict.effect !== null && isAnswering(verdict.effect)) {
    return { status: 202, count, ...effect };
  }
  const entries = profiles.map((profile, index) => ({
    profile,
    failure: verdict.failures.get(index) ?? null,
  }));
  const job = call.account.imports.create(entries, lists);
  const answer = toOne(toImportJobResource(job, call.url), query);
  return { ...answer, status: 202, count, ...effect };
}

function toSuspects(profiles: readonly ProfileInput[]): Suspect[] {
  return profiles.map(({ attributes }, index) => {
    const prefix = [...bulkPath, index];
    return { prefix, places: [{ at: [...prefix, 'attributes'], attributes }] };
  });
}
