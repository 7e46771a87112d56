import type { Lane } from '../model/lane.js';
import { isDocumentedSuccess } from './success.js';
import { isRecord, tryParseJson, parseApiErrors } from './api-errors.js';
import { isErrorDocument, toResources } from './documents.js';
import { bulkPath, importJobType, toBody } from './request.js';
import type { TransportResponse, Transport } from './transport.js';

/** Whose key it is, as far as Klaviyo tells. */
export type AccountProbe =
  | { readonly ok: true; readonly id?: string; readonly name?: string }
  | { readonly ok: false; readonly reason: string };

/** What a key may do, a scope (or what needs several) each. */
export type ScopeProbe = { readonly scope: string; readonly ok: boolean; readonly detail: string };

/** A key without `accounts:read` is refused with a 403, which a wrong key is not: that is a 401. */
export async function probeAccount(transport: Transport): Promise<AccountProbe> {
  const reply = await transport({ method: 'GET', path: '/api/accounts' });
  if (reply.ok && reply.status === 403 && isRefusal(reply)) return { ok: true };
  if (!reply.ok || reply.status !== 200) return { ok: false, reason: toWords(reply) };
  const [account] = toResources(tryParseJson(reply.bodyText), 'account') ?? [];
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
  const contact = isRecord(attributes) ? attributes.contact_information : undefined;
  const name = isRecord(contact) ? contact.organization_name : undefined;
  return typeof name === 'string' && name !== '' ? name : undefined;
}

/**
 * Asks for each permission once and records nothing: a bulk request with no entries is invalid, so
 * a 400 says that the key was let through, and a 403 that a scope is missing. Where the key itself
 * does not work, that is all it says.
 */
export async function probeScopes(transport: Transport): Promise<readonly ScopeProbe[]> {
  const account = await probeAccount(transport);
  if (!account.ok) return [{ scope: 'key', ok: false, detail: account.reason }];
  const owner = [account.name, account.id].filter((part) => part !== undefined).join(', ');
  return [
    { scope: 'key', ok: true, detail: owner === '' ? 'Klaviyo knows it' : `of ${owner}` },
    toProbe('events:write', await post(transport, 'events')),
    toProbe('profiles:write, lists:write', await post(transport, 'profiles')),
    toProbe('profiles:read, lists:read', await list(transport)),
  ];
}

/** `isTaken`: Klaviyo's own success, as opposed to a 2xx of something in between. */
type Probed = { readonly reply: TransportResponse; readonly isTaken: boolean };

async function post(transport: Transport, lane: Lane): Promise<Probed> {
  const reply = await transport({ method: 'POST', path: bulkPath[lane], body: toBody(lane, []) });
  return { reply, isTaken: reply.ok && isDocumentedSuccess({ ...reply, lane, count: 0, now: 0 }) };
}

async function list(transport: Transport): Promise<Probed> {
  const reply = await transport({ method: 'GET', path: `${bulkPath.profiles}?page%5Bsize%5D=1` });
  const isRead =
    reply.ok &&
    reply.status === 200 &&
    reply.isWhole &&
    toResources(tryParseJson(reply.bodyText), importJobType) !== null;
  return { reply, isTaken: isRead };
}

function toProbe(scope: string, { reply, isTaken }: Probed): ScopeProbe {
  const isInvalid =
    reply.ok && reply.status === 400 && isRefusal(reply) && !/revision/i.test(toWords(reply));
  if (isInvalid || isTaken) return { scope, ok: true, detail: 'the key has it' };
  return { scope, ok: false, detail: toWords(reply) };
}

/** In Klaviyo's own words; a proxy's say nothing about the key. */
const isRefusal = (reply: TransportResponse & { ok: true }): boolean =>
  isErrorDocument(tryParseJson(reply.bodyText));

function toWords(reply: TransportResponse): string {
  if (!reply.ok) return `no answer: ${reply.detail}`;
  const words = parseApiErrors(reply.bodyText)[0]?.detail ?? '';
  if (words !== '') return `Klaviyo answered ${reply.status}: ${words}`;
  const isSuccess = reply.status >= 200 && reply.status < 300;
  return isSuccess
    ? `the answer is not from Klaviyo (${reply.status})`
    : `Klaviyo answered ${reply.status}`;
}
