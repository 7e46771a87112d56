import type { IncomingMessage, ServerResponse } from 'node:http';
import { wait } from '../../clock.js';
import type { Clock } from '../../clock.js';
import type { Account, Call } from './account.js';
import { jsonApiType, toErrors, toNotFound, toThrottled } from './answer.js';
import type { Answer } from './answer.js';
import { readBody } from './body.js';
import type { Body } from './body.js';
import { toOperation } from './endpoints.js';
import type { Operation, Windows } from './endpoints.js';
import { toFaultAnswer } from './fault-answer.js';
import { isAnswering } from './faults.js';
import type { FaultEffect, Faults } from './faults.js';
import { toKey, toRevisionError, toScopeError } from './gate.js';
import { bulkCreateEvents, createEvent } from './post-events.js';
import { bulkImportProfiles, importProfile } from './post-profiles.js';
import * as reads from './reads.js';

/** What is the same for every request. */
export type Serving = {
  readonly clock: Clock;
  readonly faults: Faults;
  readonly windows: Windows;
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
  get_import_jobs: reads.getImportJobs,
  get_import_job: reads.getImportJob,
  get_import_errors: reads.getImportErrors,
  get_import_profiles: reads.getImportProfiles,
  get_profiles: reads.getProfiles,
  get_profile: reads.getProfile,
  get_events: reads.getEvents,
  get_metrics: reads.getMetrics,
  get_accounts: reads.getAccounts,
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
    const answer = match.kind === 'unknown' ? toUnknown(visit.url.pathname) : toWrongMethod(method);
    finish(visit, { endpoint: 'unknown', bytes: 0, answer });
    return;
  }
  await serveOperation(visit, { ...match, serving });
}

async function serveOperation(
  visit: Visit,
  { operation, id, serving }: { operation: Operation; id: string; serving: Serving },
): Promise<void> {
  const { endpoint } = operation;
  const { early, rate } = admit(visit, operation, serving);
  const fault = early === null ? serving.faults.next(endpoint) : null;
  const body = fault?.reset === 'before' ? null : await takeBody(visit.request);
  if (body === null) {
    finish(visit, { endpoint, bytes: 0, answer: null });
    return;
  }
  const toCall = (): Call => toCallOf(visit, body, { operation, id, faults: serving.faults });
  const answer = early ?? answerOf(toCall, { fault, body, operation });
  const effect = fault ?? answer.effect ?? null;
  const delayMs = serving.latencyMs + (effect?.delayMs ?? 0);
  if (delayMs > 0) await wait(serving.clock, delayMs, serving.closing);
  finish(visit, {
    endpoint,
    bytes: body.bytes,
    count: answer.count ?? 0,
    answer: effect?.reset === 'after' ? null : toFinal(answer, { effect, operation, rate }),
  });
}

type Admitted = {
  /** The answer to a request that goes no further. */
  readonly early: Answer | null;
  readonly rate: Readonly<Record<string, string>>;
};

/** Judges the arrival, then looks at key, revision, scopes and rate: a 401 carries no rate headers (recorded live). */
function admit(visit: Visit, operation: Operation, serving: Serving): Admitted {
  const { limits } = visit.account;
  const windows = serving.windows[operation.endpoint];
  limits.arrive(operation, windows);
  const refused = checkGate(visit, operation, serving);
  if (refused !== null) return { early: refused, rate: {} };
  const admission = limits.take(operation, windows);
  if (admission.ok) return { early: null, rate: admission.headers };
  return { early: toThrottled(admission.retryAfterSeconds), rate: {} };
}

/** Null where the sender went away in the middle. */
function takeBody(request: IncomingMessage): Promise<Body | null> {
  return request.method === 'POST' ? readBody(request).catch(() => null) : Promise.resolve(noBody);
}

const noBody: Body = { kind: 'json', json: null, bytes: 0 };

function checkGate(visit: Visit, operation: Operation, serving: Serving): Answer | null {
  const { headers } = visit.request;
  const found = toKey(headers.authorization, serving.apiKeys);
  if (!('key' in found)) return found;
  return (
    toRevisionError(toRevision(visit.request), visit.at) ??
    toScopeError(operation.scopes, serving.scopes?.[found.key])
  );
}

function toRevision(request: IncomingMessage): string | undefined {
  const { revision } = request.headers;
  return Array.isArray(revision) ? revision[0] : revision;
}

function toCallOf(
  { account, request, url, at }: Visit,
  body: Body,
  { operation, id, faults }: { operation: Operation; id: string; faults: Faults },
): Call {
  return {
    account,
    operation,
    id,
    url,
    revision: toRevision(request)?.slice(0, 10) ?? '',
    now: at,
    json: body.kind === 'json' ? body.json : null,
    poisons: faults.poisons(operation.endpoint),
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
    rate: Readonly<Record<string, string>>;
  },
): Answer {
  const { effect, operation, rate } = context;
  const final =
    effect !== null && isAnswering(effect) ? toFaultAnswer(effect, operation.endpoint) : answer;
  const bare = final.status === 429 || final.status === 401 || final.text !== undefined;
  return bare ? final : { ...final, headers: { ...rate, ...final.headers } };
}

/** `answer` null: the connection is cut. */
type Ending = {
  readonly endpoint: string;
  readonly bytes: number;
  readonly count?: number;
  readonly answer: Answer | null;
};

function finish({ request, response, url, account, at }: Visit, ending: Ending): void {
  const gone = response.destroyed || request.socket.destroyed;
  account.requests.push({
    endpoint: ending.endpoint,
    method: request.method ?? 'GET',
    path: `${url.pathname}${url.search}`.slice(0, 500),
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

function toWrongMethod(method: string): Answer {
  const source = { pointer: '/data/' };
  const detail = `Method "${method}" not allowed.`;
  return toErrors(405, [{ code: 'method_not_allowed', title: detail, detail, source }]);
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
