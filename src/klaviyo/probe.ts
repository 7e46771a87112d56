import { toApiErrors } from './api-errors.js';
import { bulkPath, toBody } from './request.js';
import type { Reply, Transport } from './transport.js';

/** What a key may do. */
export type ScopeProbe = { readonly scope: string; readonly ok: boolean; readonly detail: string };

/**
 * Asks for each permission once and records nothing: a bulk request with no entries is invalid, so
 * a 400 says that the key was let through, and a 403 that a scope is missing.
 */
export async function probeScopes(transport: Transport): Promise<readonly ScopeProbe[]> {
  const post = (lane: 'events' | 'profiles'): Promise<Reply> =>
    transport({ method: 'POST', path: bulkPath[lane], body: toBody(lane, []) });
  const jobs = await transport({ method: 'GET', path: `${bulkPath.profiles}?page%5Bsize%5D=1` });
  return [
    toProbe('events:write', await post('events'), [400, 202]),
    toProbe('profiles:write, lists:write', await post('profiles'), [400, 202]),
    toProbe('profiles:read, lists:read', jobs, [200]),
  ];
}

function toProbe(scope: string, reply: Reply, fine: readonly number[]): ScopeProbe {
  if (!reply.ok) return { scope, ok: false, detail: `no answer (${reply.code}): ${reply.detail}` };
  const words = toApiErrors(reply.bodyText)[0]?.detail ?? '';
  const ok = fine.includes(reply.status) && !/revision/i.test(words);
  return {
    scope,
    ok,
    detail: ok
      ? 'the key has it'
      : `Klaviyo answered ${reply.status}${words === '' ? '' : `: ${words}`}`,
  };
}
