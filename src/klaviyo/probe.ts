import { lanes, type Lane } from '../model/lane.js';
import {
  isErrorDocument,
  isRecord,
  parseApiErrors,
  toResources,
  tryParseJson,
} from './documents.js';
import { getLaneApi } from './lanes/list.js';
import { isDocumentedSuccess } from './response.js';
import type { Transport, TransportResponse } from './transport.js';

/** The account that a key belongs to. `id` and `name` are absent if the key may not read them. */
export type AccountProbe =
  | { readonly ok: true; readonly id?: string; readonly name?: string }
  | { readonly ok: false; readonly reason: string };

/** Whether a key has one scope, or a group of scopes. */
export type ScopeProbe = {
  readonly scope: string;
  readonly ok: boolean;
  readonly detail: string;
  /** The lanes that need it, if not every relay does. */
  readonly neededFor?: readonly Lane[];
};

/** A valid key without `accounts:read` gets a 403. A wrong key gets a 401. */
export async function probeAccount(transport: Transport): Promise<AccountProbe> {
  const response = await transport({ method: 'GET', path: '/api/accounts' });
  if (response.ok && response.status === 403 && hasErrorDocument(response)) return { ok: true };
  if (!response.ok || response.status !== 200) {
    return { ok: false, reason: explainFailure(response) };
  }
  const [account] = toResources(tryParseJson(response.bodyText), 'account') ?? [];
  if (account === undefined) return { ok: false, reason: 'the answer is not from Klaviyo' };
  const { id, attributes } = account;
  const contact = isRecord(attributes) ? attributes.contact_information : undefined;
  const name = isRecord(contact) ? contact.organization_name : undefined;
  return {
    ok: true,
    ...(typeof id === 'string' && { id }),
    ...(typeof name === 'string' && name !== '' && { name }),
  };
}

/**
 * Checks each scope with one request that records nothing: a bulk request without entries is invalid, so
 * a 400 means that the key has the scope, and a 403 that it lacks the scope. If the key itself does not
 * work, the result has only that.
 */
export async function probeScopes(transport: Transport): Promise<readonly ScopeProbe[]> {
  const account = await probeAccount(transport);
  if (!account.ok) return [{ scope: 'key', ok: false, detail: account.reason }];
  const owner = [account.name, account.id].filter((part) => part !== undefined).join(', ');
  return [
    { scope: 'key', ok: true, detail: owner === '' ? 'Klaviyo knows it' : `of ${owner}` },
    ...(await probeLanes(transport)),
  ];
}

/** `isSuccess`: the response is Klaviyo's own success, and not a 2xx of something in between. */
type ProbeResponse = { readonly response: TransportResponse; readonly isSuccess: boolean };

/** Scopes that lanes need together. The endpoint of the first lane shows whether the key has them. */
type ScopeGroup = {
  readonly scope: string;
  readonly probe: (transport: Transport, lane: Lane) => Promise<ProbeResponse>;
  readonly lanes: readonly [Lane, ...Lane[]];
};

function listScopeGroups(): readonly ScopeGroup[] {
  const groups = new Map<string, ScopeGroup>();
  const add = (lane: Lane, scopes: readonly string[], probe: ScopeGroup['probe']): void => {
    const scope = scopes.join(', ');
    const known = groups.get(scope);
    groups.set(scope, {
      scope,
      probe: known?.probe ?? probe,
      lanes: known === undefined ? [lane] : [...known.lanes, lane],
    });
  };
  for (const lane of lanes) {
    const { scopes, pollScopes } = getLaneApi(lane);
    add(lane, scopes, probeLane);
    if (pollScopes !== undefined) add(lane, pollScopes, probeJobs);
  }
  return [...groups.values()];
}

async function probeLanes(transport: Transport): Promise<readonly ScopeProbe[]> {
  const probes: ScopeProbe[] = [];
  for (const { scope, probe, lanes: group } of listScopeGroups()) {
    const result = toScopeProbe(scope, await probe(transport, group[0]));
    const isOptional = group.every((lane) => getLaneApi(lane).isOptional === true);
    probes.push(isOptional ? { ...result, neededFor: group } : result);
  }
  return probes;
}

async function probeLane(transport: Transport, lane: Lane): Promise<ProbeResponse> {
  const { path, body } = getLaneApi(lane);
  const response = await transport({ method: 'POST', path, body: body.join([]) });
  return { response, isSuccess: response.ok && isDocumentedSuccess({ ...response, lane }) };
}

/** Reads the list of jobs. Klaviyo's OpenAPI has the page size for imports only. */
async function probeJobs(transport: Transport, lane: Lane): Promise<ProbeResponse> {
  const { path, body, success } = getLaneApi(lane);
  const query = success === 'import-job' ? '?page%5Bsize%5D=1' : '';
  const response = await transport({ method: 'GET', path: path + query });
  const isSuccess =
    response.ok &&
    response.status === 200 &&
    response.isWhole &&
    toResources(tryParseJson(response.bodyText), body.type) !== null;
  return { response, isSuccess };
}

function toScopeProbe(scope: string, { response, isSuccess }: ProbeResponse): ScopeProbe {
  const isInvalid =
    response.ok &&
    response.status === 400 &&
    hasErrorDocument(response) &&
    !/revision/i.test(explainFailure(response));
  if (isInvalid || isSuccess) return { scope, ok: true, detail: 'the key has it' };
  return { scope, ok: false, detail: explainFailure(response) };
}

/** Returns true if the error comes from Klaviyo. A proxy's error says nothing about the key. */
const hasErrorDocument = ({ bodyText }: TransportResponse & { ok: true }): boolean =>
  isErrorDocument(tryParseJson(bodyText));

function explainFailure(response: TransportResponse): string {
  if (!response.ok) return `no answer: ${response.detail}`;
  const { status, bodyText } = response;
  const detail = parseApiErrors(bodyText)[0]?.detail ?? '';
  if (detail !== '') return `Klaviyo answered ${status}: ${detail}`;
  return status >= 200 && status < 300
    ? `the answer is not from Klaviyo (${status})`
    : `Klaviyo answered ${status}`;
}
