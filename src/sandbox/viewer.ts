/**
 * The sandbox's own interface: the page at `/`, the JSON under `/sandbox` that fills it, fault
 * rules and the reset.
 */

import type { IncomingMessage } from 'node:http';
import type { Account } from './account.js';
import { createErrorResponse, createInvalidError, createNotFoundResponse } from './response.js';
import type { ApiResponse } from './response.js';
import { readRequestBody } from './request-body.js';
import { FaultScriptError, parseFaultRules } from './faults.js';
import type { Faults } from './faults.js';
import { page, pageHeaders } from './viewer-page.js';
import { toEventView, toProfileView } from './snapshot.js';

export type ViewerContext = {
  account(): Account;
  readonly faults: Faults;
  /** Discards all state and restores the fault rules of the start. */
  reset(): void;
};

export async function serveViewer(
  request: IncomingMessage,
  url: URL,
  viewer: ViewerContext,
): Promise<ApiResponse> {
  const method = request.method ?? 'GET';
  if (method !== 'GET' && isCrossOrigin(request)) {
    return createErrorResponse(403, [
      createInvalidError('Only pages of the sandbox itself may change it.'),
    ]);
  }
  switch (`${method} ${url.pathname}`) {
    case 'GET /':
      return { status: 200, text: page, headers: pageHeaders };
    case 'GET /sandbox/stats':
      return createJsonResponse(collectStats(viewer.account()));
    case 'GET /sandbox/feed':
      return createJsonResponse({
        data: viewer.account().activity.newest(parseLimit(url)).map(toEventView),
      });
    case 'GET /sandbox/profiles':
      return createJsonResponse({ data: listNewestProfiles(viewer.account(), parseLimit(url)) });
    case 'GET /sandbox/requests':
      return createJsonResponse({ data: viewer.account().requests.newest(parseLimit(url)) });
    case 'GET /sandbox/imports':
      return createJsonResponse({ data: listNewestImports(viewer.account(), parseLimit(url)) });
    case 'DELETE /sandbox':
      viewer.reset();
      return { status: 204 };
    default:
      return url.pathname === '/sandbox/faults'
        ? serveFaults(method, request, viewer.faults)
        : createNotFoundResponse(`Nothing is at ${method} ${url.pathname}.`);
  }
}

async function serveFaults(
  method: string,
  request: IncomingMessage,
  faults: Faults,
): Promise<ApiResponse> {
  if (method === 'DELETE') faults.clear();
  if (method === 'POST') {
    const body = await readRequestBody(request);
    if (body.kind === 'invalid') return body.response;
    try {
      faults.add(parseFaultRules(body.json));
    } catch (error) {
      if (!(error instanceof FaultScriptError)) throw error;
      return createErrorResponse(
        400,
        error.problems.map((problem) => createInvalidError(problem)),
      );
    }
  }
  return createJsonResponse({ data: faults.list() });
}

/**
 * A page of another origin can send requests through its visitor's browser, which then sets
 * `Origin`.
 */
function isCrossOrigin(request: IncomingMessage): boolean {
  const { origin, host } = request.headers;
  return origin !== undefined && origin !== `http://${host ?? ''}`;
}

function parseLimit(url: URL): number {
  const limit = Number(url.searchParams.get('limit') ?? 50);
  return Number.isInteger(limit) ? Math.min(Math.max(limit, 1), 1000) : 50;
}

/** Most recently updated first. */
function listNewestProfiles(account: Account, limit: number): unknown {
  // The collection is in the order of creation, and sorting a million profiles every second would
  // block the sandbox. Updates come from recent events, so those profiles are added.
  const seen = new Set(account.activity.newest(limit).map(({ profile }) => profile.id));
  const created = account.profiles.newest(limit);
  const active = [...seen].flatMap((id) => account.profiles.get(id) ?? []);
  return [...new Set([...created, ...active])]
    .sort((a, b) => b.updatedAt - a.updatedAt)
    .slice(0, limit)
    .map((profile) => toProfileView(profile, account.lists));
}

/** Shows the number of profiles, because a job can have 10,000. */
function listNewestImports(account: Account, limit: number): unknown {
  return account.importJobs
    .all()
    .slice(0, limit)
    .map(({ profiles, errors, ...job }) => ({
      ...job,
      profileCount: profiles.length,
      errors: errors.slice(0, 20),
    }));
}

function collectStats(account: Account): unknown {
  const { counters, profiles, limits, requests } = account;
  return {
    counters,
    profiles: profiles.count(),
    requests: { total: requests.total(), byStatus: requests.byStatus() },
    violations: { total: limits.violationCount(), newest: limits.violations().slice(-20) },
  };
}

function createJsonResponse(body: unknown): ApiResponse {
  return {
    status: 200,
    body,
    headers: { 'content-type': 'application/json', 'cache-control': 'no-store' },
  };
}
