import type { IncomingMessage, ServerResponse } from 'node:http';
import { wait } from '../clock.js';
import type { Clock } from '../clock.js';
import type { Account, Call } from './account.js';
import { jsonApiType, toErrors, toNotFound, toThrottled } from './answer.js';
import type { Answer } from './answer.js';
import { readBody } from './body.js';
import type { Body } from './body.js';
import { toWindows } from './endpoints.js';
import type { WindowOptions } from './endpoints.js';
import { toFaultAnswer } from './fault-answer.js';
import { isAnswering } from './faults.js';
import type { FaultEffect, Faults } from './faults.js';
import { toAskedRevision, toKey, toScopeError } from './gate.js';
import { toOperation } from './operations.js';
import type { Operation } from './operations.js';
import { bulkCreateEvents, createEvent } from './post-events.js';
import {
  bulkImportProfiles,
  createProfile,
  importProfile,
  updateProfile,
} from './post-profiles.js';
import * as events from './read-events.js';
import * as lists from './read-lists.js';
import * as profiles from './read-profiles.js';
import * as reads from './reads.js';
import { documentedRetirement, toServedRevision } from './retirement.js';
import type { ServedRevision } from './retirement.js';
import { oldestRules, toRetirementDate } from './revisions.js';
import type { Retirement, Revision } from './revisions.js';

/** What is the same for every request. */
export type Serving = {
  readonly clock: Clock;
  readonly faults: Faults;
  readonly windows: WindowOptions | undefined;
  readonly retireByAge: boolean;
  readonly apiKeys: readonly string[] | undefined;
  readonly scopes: Readonly<Record<string, readonly string[]>> | undefined;
  /** Ms every answer takes. */
  readonly latencyMs: number;
  /** Aborts when the sandbox closes: nobody waits any longer. */
  readonly closing: AbortSignal;
};

const calls: Readonly<Record<string, (call: Call) => Answer>> = {
  create_event: createEvent,
  bulk_create_events: bulkCreateEvents,
  create_or_update_profile: importProfile,
  bulk_import_profiles: bulkImportProfiles,
  create_profile: createProfile,
  update_profile: updateProfile,
  get_import_jobs: reads.getImportJobs,
  get_import_job: reads.getImportJob,
  get_import_errors: reads.getImportErrors,
  get_import_profiles: reads.getImportProfiles,
  get_import_profile_ids: reads.getImportProfileIds,
  get_import_lists: reads.getImportLists,
  get_import_list_ids: reads.getImportListIds,
  get_profiles: profiles.getProfiles,
  get_profile: profiles.getProfile,
  get_profile_lists: profiles.getProfileLists,
  get_profile_list_ids: profiles.getProfileListIds,
  get_none_of_profile: profiles.getNoneOfProfile,
  get_events: events.getEvents,
  get_event: events.getEvent,
  get_event_metric: events.getEventMetric,
  get_event_metric_id: events.getEventMetricId,
  get_event_profile: events.getEventProfile,
  get_event_profile_id: events.getEventProfileId,
  get_metrics: events.getMetrics,
  get_metric: events.getMetric,
  get_metric_flows: events.getMetricFlows,
  get_lists: lists.getLists,
  get_list: lists.getList,
  get_list_profiles: lists.getListProfiles,
  get_list_profile_ids: lists.getListProfileIds,
  get_none_of_list: lists.getNoneOfList,
  get_accounts: reads.getAccounts,
  get_account: reads.getAccount,
};

/** One request on its way: what is known of it before its body is read. */
type Visit = {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly url: URL;
  readonly account: Account;
  /** Epoch ms. */
  readonly at: number;
};

/** Answers one request under `/api`, as Klaviyo would or as a fault rule says, and logs it. */
export async function serveApi(visit: Visit, serving: Serving): Promise<void> {
  const method = visit.request.method ?? 'GET';
  const match = toOperation(method, visit.url.pathname);
  if (match.kind !== 'operation') {
    const answer = toUnserved(match.kind, method, visit.url.pathname);
    finish(visit, { endpoint: 'unknown', bytes: 0, answer, revision: null });
    return;
  }
  await serveOperation(visit, { ...match, serving });
}

async function serveOperation(
  visit: Visit,
  { operation, id, serving }: { operation: Operation; id: string; serving: Serving },
): Promise<void> {
  const { endpoint } = operation;
  const admitted = admit(visit, operation, serving);
  const { early, revision } = admitted;
  const fault = early === null ? serving.faults.next(endpoint) : null;
  const body = fault?.reset === 'before' ? null : await takeBody(visit.request);
  if (body === null) {
    finish(visit, { endpoint, bytes: 0, answer: null, revision });
    return;
  }
  const { faults } = serving;
  const answer =
    admitted.early ??
    answerOf(() => toCallOf(visit, body, { operation, id, revision: admitted.revision, faults }), {
      fault,
      body,
      operation,
    });
  const effect = fault ?? answer.effect ?? null;
  const delayMs = serving.latencyMs + (effect?.delayMs ?? 0);
  if (delayMs > 0) await wait(serving.clock, delayMs, serving.closing);
  finish(visit, {
    endpoint,
    bytes: body.bytes,
    count: answer.count ?? 0,
    answer:
      effect?.reset === 'after'
        ? null
        : toFinal(answer, { effect, operation, headers: admitted.headers }),
    revision,
  });
}

/**
 * `early`: the answer to a request that goes no further. `headers`: those of the rate, and the one
 * that names a later revision than was asked for.
 */
type Admitted = { readonly headers: Readonly<Record<string, string>> } & (
  | { readonly early: Answer; readonly revision: null }
  | { readonly early: null; readonly revision: Revision }
);

/** Looks at key, revision, scopes and rate, and judges the arrival: a 401 carries no rate headers (recorded live). */
function admit(visit: Visit, operation: Operation, serving: Serving): Admitted {
  const { limits } = visit.account;
  const passed = passGate(visit, operation, serving);
  const isPassed = 'revision' in passed;
  const windows = toWindows(operation, isPassed ? passed.revision : oldestRules, serving.windows);
  limits.arrive(operation, windows);
  if (!isPassed) return { early: passed, revision: null, headers: {} };
  const admission = limits.take(operation, windows);
  if (!admission.ok) {
    return { early: toThrottled(admission.retryAfterSeconds), revision: null, headers: {} };
  }
  const headers = { ...passed.headers, ...admission.headers };
  return { early: null, revision: passed.revision, headers };
}

/** Null where the sender went away in the middle. */
function takeBody(request: IncomingMessage): Promise<Body | null> {
  if (request.method === 'GET') return Promise.resolve(noBody);
  return readBody(request).catch(() => null);
}

const noBody: Body = { kind: 'json', json: null, bytes: 0 };

function passGate(
  { request, at }: Visit,
  operation: Operation,
  { apiKeys, scopes, faults, retireByAge }: Serving,
): ServedRevision | Answer {
  const { headers } = request;
  const found = toKey(headers.authorization, apiKeys);
  if (!('key' in found)) return found;
  const today = new Date(at).toISOString().slice(0, 10);
  const revision = toAskedRevision(toText(headers.revision), today);
  if (!('date' in revision)) return revision;
  const optsOut = headers['x-klaviyo-revision-fall-forward-opt-out'] === '1';
  const served = toServedRevision({ revision, optsOut, today }, (asked): Retirement | null => {
    const retirement = faults.retirement(operation.endpoint, asked.date);
    if (retirement !== null) return retirement;
    return retireByAge && toRetirementDate(asked) <= today ? documentedRetirement : null;
  });
  if (!('revision' in served)) return served;
  return toScopeError(operation.scopes, scopes?.[found.key]) ?? served;
}

function toText(header: string | string[] | undefined): string | undefined {
  return Array.isArray(header) ? header[0] : header;
}

function toCallOf(
  { account, url, at }: Visit,
  body: Body,
  routed: { operation: Operation; id: string; revision: Revision; faults: Faults },
): Call {
  return {
    account,
    operation: routed.operation,
    id: routed.id,
    url,
    revision: routed.revision,
    now: at,
    json: body.kind === 'json' ? body.json : null,
    poisons: routed.faults.poisons(routed.operation.endpoint),
  };
}

/** A rule that answers comes before everything the body could say. */
function answerOf(
  toCall: () => Call,
  seen: { fault: FaultEffect | null; body: Body; operation: Operation },
): Answer {
  const { fault, body, operation } = seen;
  if (fault !== null && isAnswering(fault)) return toFaultAnswer(fault, operation.endpoint);
  if (body.kind === 'refused') return body.answer;
  return calls[operation.name]?.(toCall()) ?? toNotFound('No valid revisions found for method');
}

/** Puts a poison rule's own effect in the answer's place; 429, 401 and HTML carry no rate headers (recorded live). */
function toFinal(
  answer: Answer,
  context: {
    effect: FaultEffect | null;
    operation: Operation;
    headers: Readonly<Record<string, string>>;
  },
): Answer {
  const { effect, operation, headers } = context;
  const final =
    effect !== null && isAnswering(effect) ? toFaultAnswer(effect, operation.endpoint) : answer;
  const bare = final.status === 429 || final.status === 401 || final.text !== undefined;
  return bare ? final : { ...final, headers: { ...headers, ...final.headers } };
}

/** `answer` null: the connection is cut. */
type Ending = {
  readonly endpoint: string;
  readonly bytes: number;
  readonly count?: number;
  readonly answer: Answer | null;
  /** The one that answered. */
  readonly revision: Revision | null;
};

function finish({ request, response, url, account, at }: Visit, ending: Ending): void {
  const gone = response.destroyed || request.socket.destroyed;
  account.requests.push({
    endpoint: ending.endpoint,
    method: request.method ?? 'GET',
    path: `${url.pathname}${url.search}`.slice(0, 500),
    revision: toText(request.headers.revision)?.slice(0, 50) ?? null,
    servedRevision: ending.revision?.date ?? null,
    at,
    status: gone ? null : (ending.answer?.status ?? null),
    count: ending.count ?? 0,
    bytes: ending.bytes,
  });
  if (gone) return;
  if (ending.answer === null) request.socket.resetAndDestroy();
  else send(response, ending.answer);
}

/** An answer without a body has no content type: the bulk events endpoint answers 202 with nothing. */
export function send(response: ServerResponse, answer: Answer): void {
  const text = answer.text ?? (answer.body === undefined ? '' : JSON.stringify(answer.body));
  const type = text === '' ? {} : { 'content-type': jsonApiType };
  response.writeHead(answer.status, {
    ...type,
    'content-length': Buffer.byteLength(text),
    ...answer.headers,
  });
  response.end(text);
}

function toUnserved(
  kind: 'unknown' | 'unplayed' | 'wrong-method',
  method: string,
  path: string,
): Answer {
  if (kind === 'unknown') return toUnknown(path);
  const source = { pointer: '/data/' };
  if (kind === 'wrong-method') {
    const detail = `Method "${method}" not allowed.`;
    return toErrors(405, [{ code: 'method_not_allowed', title: detail, detail, source }]);
  }
  const title = 'Klaviyo has this, and the sandbox does not play it.';
  const detail = `${title} docs/reference/sandbox.md lists what it plays. ${method} ${path}`;
  return toErrors(501, [{ code: 'not_implemented', title, detail, source }]);
}

/** The v1 and v2 APIs answer 410, and not in JSON:API. */
function toUnknown(path: string): Answer {
  if (!/^\/api\/(?:v[12]\/|track\/?$|identify\/?$)/.test(path)) {
    return toNotFound('No valid revisions found for method');
  }
  const message =
    'This API has been retired and is no longer in service. Please review our migration resources for help migrating to our new APIs. https://developers.klaviyo.com/en/docs/migration_resources';
  return { status: 410, body: { message }, headers: { 'content-type': 'application/json' } };
}
