import { isObject, parse, toApiErrors } from './api-errors.js';
import { bulkPath, toBody } from './request.js';
import type { Reply, Transport } from './transport.js';

/** Whose key it is, as far as Klaviyo tells. */
export type AccountProbe =
  | { readonly ok: true; readonly id?: string; readonly name?: string }
  | { readonly ok: false; readonly reason: string };

/** What a key may do, a scope (or what needs several) each. */
export type ScopeProbe = { readonly scope: string; readonly ok: boolean; readonly detail: string };

/** A key without `accounts:read` is refused with a 403, which a wrong key is not: that is a 401. */
export async function askAccount(transport: Transport): Promise<AccountProbe> {
  const reply = await transport({ method: 'GET', path: '/api/accounts' });
  if (reply.ok && reply.status === 403 && isKlaviyos(reply)) return { ok: true };
  if (!reply.ok || reply.status !== 200) return { ok: false, reason: toWords(reply) };
  const body = parse(reply.bodyText);
  const data = isObject(body) && Array.isArray(body.data) ? Array.from<unknown>(body.data) : [];
  const [account] = data.filter(isObject);
  if (account === undefined) return { ok: false, reason: 'the answer is not from Klaviyo' };
  const name = toName(account);
  return {
    ok: true,
    ...(typeof account.id === 'string' && { id: account.id }),
    ...(name !== undefined && { name }),
  };
}

function toName(account: Readonly<Record<string, unknown>>): string | undefined {
  const attributes = account.attributes;
  const contact = isObject(attributes) ? attributes.contact_information : undefined;
  const name = isObject(contact) ? contact.organization_name : undefined;
  return typeof name === 'string' && name !== '' ? name : undefined;
}

/**
 * Asks for each permission once and records nothing: a bulk request with no entries is invalid, so
 * a 400 says that the key was let through, and a 403 that a scope is missing. Where the key itself
 * does not work, that is all it says.
 */
export async function probeScopes(transport: Transport): Promise<readonly ScopeProbe[]> {
  const account = await askAccount(transport);
  if (!account.ok) return [{ scope: 'key', ok: false, detail: account.reason }];
  const post = (lane: 'events' | 'profiles'): Promise<Reply> =>
    transport({ method: 'POST', path: bulkPath[lane], body: toBody(lane, []) });
  const owner = [account.name, account.id].filter((part) => part !== undefined).join(', ');
  return [
    { scope: 'key', ok: true, detail: owner === '' ? 'Klaviyo knows it' : `of ${owner}` },
    toProbe('events:write', await post('events')),
    toProbe('profiles:write, lists:write', await post('profiles')),
    toProbe(
      'profiles:read, lists:read',
      await transport({ method: 'GET', path: `${bulkPath.profiles}?page%5Bsize%5D=1` }),
    ),
  ];
}

function toProbe(scope: string, reply: Reply): ScopeProbe {
  const isInvalid =
    reply.ok && reply.status === 400 && isKlaviyos(reply) && !/revision/i.test(toWords(reply));
  const isTaken = reply.ok && reply.status >= 200 && reply.status < 300;
  if (isInvalid || isTaken) return { scope, ok: true, detail: 'the key has it' };
  return { scope, ok: false, detail: toWords(reply) };
}

const isKlaviyos = (reply: Reply & { ok: true }): boolean => isObject(parse(reply.bodyText));

function toWords(reply: Reply): string {
  if (!reply.ok) return `no answer: ${reply.detail}`;
  const words = toApiErrors(reply.bodyText)[0]?.detail ?? '';
  return `Klaviyo answered ${reply.status}${words === '' ? '' : `: ${words}`}`;
}
