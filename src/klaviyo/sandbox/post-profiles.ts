import { z } from 'zod';
import type { Call } from './account.js';
import { isTestAddress } from './activity.js';
import { toErrors, toInvalid } from './answer.js';
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
import { toImportJobResource, toProfileResource } from './resources.js';

/** Klaviyo's cap on one import job. */
export const maxProfilesPerRequest = 10_000;

const bulkPath = ['data', 'attributes', 'profiles', 'data'] as const;

/** As with events, the list itself is walked by hand. Lists are taken without question: the sandbox has none. */
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

/** `POST /api/profile-import`: 201 with a new profile, 200 with one that was known. */
export function importProfile(call: Call): Answer {
  const blame = createBlame();
  const found: { profile?: ProfileInput | undefined } = {};
  blame.within(['data'], () => {
    found.profile = checkProfile(
      toMember(call.json, 'data'),
      { revision: call.revision, maxBytes: maxProfileBytes, within: 'import' },
      blame,
    );
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
  return { ...write(call, profile), count: 1, ...(effect === null ? {} : { effect }) };
}

function write({ account, now, url }: Call, input: ProfileInput): Answer {
  const dropped = isTestAddress(input.attributes.email);
  // A dropped address is answered like any other, from a book that is thrown away.
  const book = dropped ? createProfileBook() : account.profiles;
  if (dropped) {
    account.counters.silentlyDropped++;
    account.counters.droppedTestAddress++;
  } else account.counters.imported++;
  const { profile, created } = book.upsert(input, { at: now, nullClears: true });
  return {
    status: created ? 201 : 200,
    body: {
      data: toProfileResource(profile, url),
      links: { self: new URL(`/api/profiles/${profile.id}`, url).href },
    },
  };
}

/** `POST /api/profile-bulk-import-jobs`: 202 with the queued job, or 400 and no job. */
export function bulkImportProfiles(call: Call): Answer {
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
  return startJob(call, profiles, lists);
}

/** Poison that waits for the job does not show in the answer. */
function startJob(call: Call, profiles: ProfileInput[], lists: readonly string[]): Answer {
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
  const data = toImportJobResource(job, call.url);
  return { status: 202, count, body: { data, links: data.links }, ...effect };
}

function toSuspects(profiles: readonly ProfileInput[]): Suspect[] {
  return profiles.map(({ attributes }, index) => {
    const prefix = [...bulkPath, index];
    return { prefix, places: [{ at: [...prefix, 'attributes'], attributes }] };
  });
}
