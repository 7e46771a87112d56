/**
 * One request under `/api`, from its arrival to its response: find the operation, check admission
 * (gate.ts), apply a fault rule, read the body, perform the operation, respond, log.
 */

import type { IncomingMessage, ServerResponse } from 'node:http';
import { wait } from '../clock.js';
import type { Clock } from '../clock.js';
import type { Account } from './account.js';
import { createFaultResponse } from './fault-response.js';
import { hasResponse } from './faults.js';
import type { FaultEffect } from './faults.js';
import { checkAdmission, getFirstValue } from './gate.js';
import type { GateOptions } from './gate.js';
import { findOperation } from './operations.js';
import type { Operation } from './operation.js';
import { readRequestBody } from './request-body.js';
import type { RequestBody } from './request-body.js';
import { createErrorResponse, createNotFoundResponse, sendResponse } from './response.js';
import type { ApiResponse } from './response.js';
import type { Revision } from './revisions.js';

/** What is the same for every request. */
export type ServeOptions = GateOptions & {
  readonly clock: Clock;
  /** Added to the duration of every response. */
  readonly latencyMs: number;
  /** Aborts when the sandbox closes, which ends the waits for delayed responses. */
  readonly closing: AbortSignal;
};

export type RequestContext = {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly url: URL;
  readonly account: Account;
  /** Epoch ms of the arrival. */
  readonly at: number;
};

/** Responds to one request under `/api` as Klaviyo would, or as a fault rule says. */
export async function serveApi(context: RequestContext, options: ServeOptions): Promise<void> {
  const method = context.request.method ?? 'GET';
  const match = findOperation(method, context.url.pathname);
  if (match.kind === 'operation') {
    await serveOperation(context, match, options);
    return;
  }
  const apiResponse = createUnservedResponse(match.kind, method, context.url.pathname);
  endRequest(context, { endpoint: 'unknown', bytes: 0, apiResponse, revision: null });
}

async function serveOperation(
  context: RequestContext,
  { operation, id }: { readonly operation: Operation; readonly id: string },
  options: ServeOptions,
): Promise<void> {
  const { request, account, url, at } = context;
  const { faults, clock, latencyMs, closing } = options;
  const { endpoint } = operation;
  const admission = checkAdmission(
    { headers: request.headers, operation, now: at, limits: account.limits },
    options,
  );
  const { rejection, revision } = admission;
  const fault = rejection === null ? faults.applyNext(endpoint) : null;
  const body = fault?.reset === 'before' ? null : await readBodyUnlessGet(request);
  if (body === null) {
    endRequest(context, { endpoint, bytes: 0, apiResponse: null, revision });
    return;
  }
  let apiResponse: ApiResponse;
  if (admission.rejection !== null) apiResponse = admission.rejection;
  // The response of a fault rule takes precedence over anything that the body could cause.
  else if (fault !== null && hasResponse(fault)) apiResponse = createFaultResponse(fault, endpoint);
  else if (body.kind === 'invalid') apiResponse = body.response;
  else {
    const poisons = faults.listPoisons(endpoint);
    const { json } = body;
    const served = admission.revision;
    apiResponse = operation.handle({ account, id, url, revision: served, now: at, json, poisons });
  }
  const effect = fault ?? apiResponse.effect ?? null;
  const delayMs = latencyMs + (effect?.delayMs ?? 0);
  if (delayMs > 0) await wait(clock, delayMs, closing);
  const { headers } = admission;
  endRequest(context, {
    endpoint,
    bytes: body.bytes,
    count: apiResponse.count ?? 0,
    apiResponse: completeResponse(apiResponse, { effect, operation, headers }),
    revision,
  });
}

/** Returns null if the client disconnects before the body is complete. */
function readBodyUnlessGet(request: IncomingMessage): Promise<RequestBody | null> {
  if (request.method === 'GET') return Promise.resolve(noBody);
  return readRequestBody(request).catch(() => null);
}

const noBody: RequestBody = { kind: 'json', json: null, bytes: 0 };

/**
 * Replaces the response if a poison rule has an effect of its own, and adds the headers. Returns null if
 * the rule resets the connection. Responses with
 * 429, 401 or HTML have no rate limit headers (recorded live).
 */
function completeResponse(
  response: ApiResponse,
  context: {
    effect: FaultEffect | null;
    operation: Operation;
    headers: Readonly<Record<string, string>>;
  },
): ApiResponse | null {
  const { effect, operation, headers } = context;
  if (effect?.reset === 'after') return null;
  const final =
    effect !== null && hasResponse(effect)
      ? createFaultResponse(effect, operation.endpoint)
      : response;
  const bare = final.status === 429 || final.status === 401 || final.text !== undefined;
  return bare ? final : { ...final, headers: { ...headers, ...final.headers } };
}

type Ending = {
  readonly endpoint: string;
  readonly bytes: number;
  readonly count?: number;
  /** Null resets the connection. */
  readonly apiResponse: ApiResponse | null;
  /** The revision that responds. */
  readonly revision: Revision | null;
};

/** Logs the request and sends the response, or resets the connection. */
function endRequest({ request, response, url, account, at }: RequestContext, ending: Ending): void {
  const isDisconnected = response.destroyed || request.socket.destroyed;
  const { endpoint, apiResponse, revision, bytes, count = 0 } = ending;
  account.requests.push({
    endpoint,
    method: request.method ?? 'GET',
    path: `${url.pathname}${url.search}`.slice(0, 500),
    revision: getFirstValue(request.headers.revision)?.slice(0, 50) ?? null,
    servedRevision: revision?.date ?? null,
    at,
    status: isDisconnected ? null : (apiResponse?.status ?? null),
    count,
    bytes,
  });
  if (isDisconnected) return;
  if (apiResponse === null) request.socket.resetAndDestroy();
  else sendResponse(response, apiResponse);
}

function createUnservedResponse(
  kind: 'unknown' | 'unsupported' | 'wrong-method',
  method: string,
  path: string,
): ApiResponse {
  if (kind === 'unknown') return createUnknownPathResponse(path);
  const source = { pointer: '/data/' };
  if (kind === 'wrong-method') {
    const detail = `Method "${method}" not allowed.`;
    return createErrorResponse(405, [
      { code: 'method_not_allowed', title: detail, detail, source },
    ]);
  }
  const title = 'Klaviyo has this operation, but the sandbox does not imitate it.';
  const detail = `${title} docs/reference/sandbox.md lists what it imitates. ${method} ${path}`;
  return createErrorResponse(501, [{ code: 'not_implemented', title, detail, source }]);
}

/** The v1 and v2 APIs respond with 410 and plain JSON. */
function createUnknownPathResponse(path: string): ApiResponse {
  if (!/^\/api\/(?:v[12]\/|track\/?$|identify\/?$)/.test(path)) {
    return createNotFoundResponse('No valid revisions found for method');
  }
  const message =
    'This API has been retired and is no longer in service. Please review our migration resources for help migrating to our new APIs. https://developers.klaviyo.com/en/docs/migration_resources';
  return { status: 410, body: { message }, headers: { 'content-type': 'application/json' } };
}
