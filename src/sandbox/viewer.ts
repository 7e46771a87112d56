import type { IncomingMessage } from 'node:http';
import type { Account } from './account.js';
import { toErrors, toInvalid, toNotFound } from './answer.js';
import type { Answer } from './answer.js';
import { readBody } from './body.js';
import { FaultScriptError, toFaultRules } from './faults.js';
import type { Faults } from './faults.js';
import { page, pageHeaders } from './page.js';
import { toEventView, toProfileView } from './snapshot.js';

/** What the viewer may see and do. */
export type Viewing = {
  account(): Account;
  readonly faults: Faults;
  /** Forgets everything and puts the faults back to those of the start. */
  reset(): void;
};

/** The sandbox's own face, beside Klaviyo's: the page at `/` and the JSON it is made from. */
export async function serveViewer(
  request: IncomingMessage,
  url: URL,
  viewing: Viewing,
): Promise<Answer> {
  const method = request.method ?? 'GET';
  if (method !== 'GET' && isForeign(request)) {
    return toErrors(403, [toInvalid('Only pages of the sandbox itself may change it.')]);
  }
  switch (`${method} ${url.pathname}`) {
    case 'GET /':
      return { status: 200, text: page, headers: pageHeaders };
    case 'GET /sandbox/stats':
      return toView(toStats(viewing.account()));
    case 'GET /sandbox/feed':
      return toView({ data: viewing.account().activity.newest(toLimit(url)).map(toEventView) });
    case 'GET /sandbox/profiles':
      return toView({ data: toNewestProfiles(viewing.account(), toLimit(url)) });
    case 'GET /sandbox/requests':
      return toView({ data: viewing.account().requests.newest(toLimit(url)) });
    case 'GET /sandbox/imports':
      return toView({ data: toNewestImports(viewing.account(), toLimit(url)) });
    case 'DELETE /sandbox':
      viewing.reset();
      return { status: 204 };
    default:
      return url.pathname === '/sandbox/faults'
        ? serveFaults(method, request, viewing.faults)
        : toNotFound(`Nothing is at ${method} ${url.pathname}.`);
  }
}

async function serveFaults(
  method: string,
  request: IncomingMessage,
  faults: Faults,
): Promise<Answer> {
  if (method === 'DELETE') faults.clear();
  if (method === 'POST') {
    const body = await readBody(request);
    if (body.kind === 'refused') return body.answer;
    try {
      faults.add(toFaultRules(body.json));
    } catch (error) {
      if (!(error instanceof FaultScriptError)) throw error;
      return toErrors(
        400,
        error.problems.map((problem) => toInvalid(problem)),
      );
    }
  }
  return toView({ data: faults.list() });
}

/** A page elsewhere may send requests here through its visitor's browser; a browser then says where it is from. */
function isForeign(request: IncomingMessage): boolean {
  const { origin, host } = request.headers;
  return origin !== undefined && origin !== `http://${host ?? ''}`;
}

function toLimit(url: URL): number {
  const limit = Number(url.searchParams.get('limit') ?? 50);
  return Number.isInteger(limit) ? Math.min(Math.max(limit, 1), 1000) : 50;
}

/** Newest first, which means the one that changed last. */
function toNewestProfiles(account: Account, limit: number): unknown {
  // Updates move no profile within the book, and sorting a million of them a second would stall the sandbox.
  const seen = new Set(account.activity.newest(limit).map(({ profile }) => profile.id));
  const created = account.profiles.newest(limit);
  const active = [...seen].flatMap((id) => account.profiles.get(id) ?? []);
  return [...new Set([...created, ...active])]
    .sort((a, b) => b.updatedAt - a.updatedAt)
    .slice(0, limit)
    .map(toProfileView);
}

/** Profiles are counted instead of shown: a job may have 10,000. */
function toNewestImports(account: Account, limit: number): unknown {
  return account.imports
    .all()
    .slice(0, limit)
    .map(({ profiles, errors, ...job }) => ({
      ...job,
      profileCount: profiles.length,
      errors: errors.slice(0, 20),
    }));
}

function toStats(account: Account): unknown {
  const { counters, profiles, limits, requests } = account;
  return {
    counters,
    profiles: profiles.count(),
    requests: { total: requests.total(), byStatus: requests.byStatus() },
    violations: { total: limits.violationCount(), newest: limits.violations().slice(-20) },
  };
}

function toView(body: unknown): Answer {
  return {
    status: 200,
    body,
    headers: { 'content-type': 'application/json', 'cache-control': 'no-store' },
  };
}
