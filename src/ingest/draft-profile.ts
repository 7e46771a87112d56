import { isJsonObject, stringifyJson } from '../json/json.js';
import { notAnObject } from './entry-bounds.js';
import { toBytes, type DraftContext, type Drafted } from './draft.js';
import { createCheck, invalidBody } from './validation-issues.js';
import { toProfileKeys } from './identity.js';
import { limits } from './limits.js';
import { toProfilePayload } from './map.js';
import { identify } from './person.js';
import { profileSchema } from './schema.js';

const checkProfile = createCheck(profileSchema, 'a profile');

/** Validates one profile, maps and serialises it. */
export function draftProfile(entry: unknown, context: DraftContext): Drafted {
  if (!isJsonObject(entry)) return invalidBody('', notAnObject.profiles);
  const checked = checkProfile(entry);
  if (!checked.ok) return checked;
  const profile = checked.value;
  const { toE164 } = context;
  const place = profile.location?.country;
  const person = identify(profile, { lane: 'profiles', toE164, place });
  if (!person.ok) return person;

  const payload = toBytes(stringifyJson(toProfilePayload(profile, person)));
  if (payload.length > limits.profileBytes) {
    return invalidBody('', `is longer than ${limits.profileBytes} bytes`);
  }
  const { acceptedAt } = context;
  const keys = toProfileKeys(person.identifiers);
  const { warnings } = person;
  return { ok: true, draft: { lane: 'profiles', keys, acceptedAt, payload }, warnings };
}
