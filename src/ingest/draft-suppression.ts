import { isJsonObject } from '../json/json.js';
import type { Draft } from '../model/envelope.js';
import { toProfileKeys } from './identity.js';
import { notAnEntry, postedSchemas } from './schema.js';
import { createCheck, invalidBody, type Invalid } from './validation.js';

type Context = { readonly acceptedAt: number };
type Drafted =
  { readonly ok: true; readonly draft: Draft; readonly warnings: readonly [] } | Invalid;

/**
 * Drafting of suppressions and unsuppressions. Klaviyo suppresses e-mail addresses only, so an entry is an
 * address. It says nothing about consent.
 */
export const draftSuppression = createDrafter('suppress', 'a suppression');
export const draftUnsuppression = createDrafter('unsuppress', 'an unsuppression');

function createDrafter(lane: 'suppress' | 'unsuppress', what: string) {
  const check = createCheck(postedSchemas[lane], what);
  return (entry: unknown, { acceptedAt }: Context): Drafted => {
    if (!isJsonObject(entry)) return invalidBody('', notAnEntry[lane]);
    const checked = check(entry);
    if (!checked.ok) return checked;
    const { email } = checked.value;
    const payload = Buffer.from(JSON.stringify({ type: 'profile', attributes: { email } }));
    const draft = { lane, keys: toProfileKeys({ email }), acceptedAt, payload };
    return { ok: true, draft, warnings: [] };
  };
}
