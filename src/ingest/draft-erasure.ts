import { isGiven, isJsonObject } from '../json/json.js';
import type { Draft } from '../model/envelope.js';
import type { Issue } from '../model/outcome.js';
import type { PersonQuery } from '../model/store.js';
import { identify, toProfileKeys, type Identified } from './identity.js';
import type { ToE164 } from './phone.js';
import { erasureSchema, identifierFields, notAnEntry, type PostedErasure } from './schema.js';
import { createCheck, invalidBody, type Invalid } from './validation.js';

type Drafted =
  { readonly ok: true; readonly draft: Draft; readonly warnings: readonly Issue[] } | Invalid;

const checkErasure = createCheck(erasureSchema, 'an erasure');

/**
 * Drafts an erasure: exactly one identifier, since Klaviyo refuses several, and the relay does not decide
 * which of two people is meant.
 */
export function draftErasure(
  entry: unknown,
  { toE164, acceptedAt }: { readonly toE164: ToE164; readonly acceptedAt: number },
): Drafted {
  if (!isJsonObject(entry)) return invalidBody('', notAnEntry.erase);
  const checked = checkErasure(entry);
  if (!checked.ok) return checked;
  const person = identifyOne(checked.value, toE164);
  if (!person.ok) return person;
  const { email, phoneNumber, externalId } = person.identifiers;
  const element = {
    type: 'profile',
    attributes: {
      ...(email !== undefined && { email }),
      ...(phoneNumber !== undefined && { phone_number: phoneNumber }),
      ...(externalId !== undefined && { external_id: externalId }),
    },
  };
  const keys = toProfileKeys(person.identifiers);
  const payload = Buffer.from(JSON.stringify(element));
  return { ok: true, draft: { lane: 'erase', keys, acceptedAt, payload }, warnings: [] };
}

/** Reads the one identifier of a person. */
function identifyOne(posted: PostedErasure, toE164: ToE164): Identified {
  const given = identifierFields.erase.filter((field) => isGiven(posted[field]));
  if (given.length <= 1) return identify(posted, { lane: 'erase', toE164 });
  const errors = given.slice(1).map((field) => ({
    pointer: `/${field}`,
    detail: `must not be given together with ${given[0] ?? ''}: name one identifier`,
  }));
  return { ok: false, errors };
}

/** Reads which person a query is about. It takes what an erasure takes. */
export function readPersonQuery(
  posted: unknown,
  toE164: ToE164,
): { readonly ok: true; readonly person: PersonQuery } | Invalid {
  const checked = isJsonObject(posted) ? checkErasure(posted) : invalidBody('', notAnEntry.erase);
  if (!checked.ok) return checked;
  const identified = identifyOne(checked.value, toE164);
  if (!identified.ok) return identified;
  const [key = ''] = toProfileKeys(identified.identifiers);
  return { ok: true, person: { key, value: Object.values(identified.identifiers)[0] } };
}
