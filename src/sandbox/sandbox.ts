/**
 * The sandbox: a local imitation of the parts of Klaviyo's API that the relay uses, with one
 * account in memory. It is stricter than Klaviyo where Klaviyo's documentation is ambiguous. It
 * shares no code with the relay's Klaviyo client, because it checks the requests of that client.
 * `/api` imitates Klaviyo (serve.ts); `/` and `/sandbox` show and control the sandbox itself
 * (viewer.ts).
 */

import { createServer } from 'node:http';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Clock } from '../clock.js';
import { createAccount } from './account.js';
import { createErrorResponse, sendResponse } from './response.js';
import type { ApiResponse } from './response.js';
import type { WindowOptions } from './endpoints.js';
import { createFaults, createSeededRandom, parseFaultRules } from './faults.js';
import type { FaultRule, FaultScript } from './faults.js';
import { createHostCheck } from './host-check.js';
import { serveApi } from './serve.js';
import { createSnapshot } from './snapshot.js';
import type { SandboxState } from './snapshot.js';
import { serveViewer } from './viewer.js';

export { faultScriptSchema, FaultScriptError } from './faults.js';
export type { FaultRule, FaultScript } from './faults.js';
export type { SandboxState } from './snapshot.js';

export type SandboxOptions = {
  readonly clock: Clock;
  readonly host?: string;
  /** Names allowed in the `Host` header in addition to `host`, `localhost` and IP addresses. */
  readonly allowedHosts?: readonly string[];
  /** 0 selects a free port. */
  readonly port?: number;
  /**
   * If absent, any key that starts with `pk_` is valid. All keys share one account and its quota.
   */
  readonly apiKeys?: readonly string[];
  /** Scopes by key. A key without an entry has all scopes. */
  readonly scopes?: Readonly<Record<string, readonly string[]>>;
  /** Rate windows, Klaviyo's own by default. `off` disables those of one endpoint or all. */
  readonly windows?: WindowOptions;
  /**
   * Retires each revision two years after its release, as Klaviyo does. Otherwise only fault rules
   * retire revisions.
   */
  readonly retireByAge?: boolean;
  /** Ms between the acceptance of a job, such as a bulk import, and its completion. */
  readonly importDelayMs?: number;
  /** The ids of lists whose subscribers must confirm, which never happens here. */
  readonly doubleOptInLists?: readonly string[];
  readonly faults?: FaultScript;
  /** Seed for the probabilities of fault rules. */
  readonly seed?: number;
  /** Bound of the activity feed. Counters and unique ids are not bounded by it. */
  readonly maxEvents?: number;
  /** Added to the duration of every response, in ms. */
  readonly latencyMs?: number;
};

/** A sandbox that does not listen yet. */
export type Sandbox = {
  /** Listens and resolves with the port. Rejects if the address is not available. */
  readonly listen: () => Promise<number>;
  state(): SandboxState;
  /** Throws FaultScriptError. */
  addFault(rule: FaultRule): void;
  clearFaults(): void;
  /** Discards all state and restores the fault rules of the options. */
  reset(): void;
  /** Closes open connections and cancels jobs. Idempotent. */
  close(): Promise<void>;
};

export type RunningSandbox = Omit<Sandbox, 'listen'> & {
  readonly url: string;
  readonly port: number;
};

/** Throws FaultScriptError if the fault script is invalid. */
export function createSandbox(options: SandboxOptions): Sandbox {
  const { clock, importDelayMs = 300, maxEvents = 100_000, latencyMs = 0 } = options;
  const { doubleOptInLists = [] } = options;
  const accountOptions = { clock, delayMs: importDelayMs, maxEvents, doubleOptInLists };
  const faults = createFaults(createSeededRandom(options.seed ?? 1));
  const initialFaults = parseFaultRules(options.faults ?? []);
  const closing = new AbortController();
  let account = createAccount(accountOptions);
  faults.add(initialFaults);

  const reset = (): void => {
    account.close();
    account = createAccount(accountOptions);
    faults.clear();
    faults.add(initialFaults);
  };

  const serveOptions = {
    clock,
    faults,
    windows: options.windows,
    retireByAge: options.retireByAge ?? false,
    apiKeys: options.apiKeys,
    scopes: options.scopes,
    latencyMs,
    closing: closing.signal,
  };
  const viewerContext = { account: () => account, faults, reset };

  const { host = '127.0.0.1', allowedHosts = [] } = options;
  const isServed = createHostCheck([host, ...allowedHosts]);
  const server = createServer((request, response) => {
    if (!isServed(request)) {
      sendResponse(response, createForbiddenResponse());
      return;
    }
    const at = clock.now();
    const url = parseRequestUrl(request);
    const served = /^\/(?:api|client)(?:\/|$)/.test(url.pathname)
      ? serveApi({ request, response, url, account, at }, serveOptions)
      : serveViewer(request, url, viewerContext).then((apiResponse) =>
          sendResponse(response, apiResponse),
        );
    served.catch((error: unknown) => respondWithFailure(response, error));
  });
  // Longer than any client keeps an idle connection, so that resets happen only when scripted.
  server.keepAliveTimeout = 120_000;

  let closed: Promise<void> | null = null;
  return {
    listen: () => listen(server, options),
    state: () => createSnapshot(account),
    addFault: (rule) => faults.add(parseFaultRules(rule)),
    clearFaults: () => faults.clear(),
    reset,
    close() {
      closing.abort();
      account.close();
      closed ??= closeServer(server);
      return closed;
    },
  };
}

/**
 * Creates a sandbox and listens. Rejects if the address is not available or the fault script is
 * invalid.
 */
export async function startSandbox(options: SandboxOptions): Promise<RunningSandbox> {
  const { listen: start, ...sandbox } = createSandbox(options);
  const port = await start();
  const { host = '127.0.0.1' } = options;
  // On some systems a URL with an "all addresses" address is not reachable.
  const reachable = ['0.0.0.0', '::'].includes(host) ? '127.0.0.1' : host;
  const name = reachable.includes(':') ? `[${reachable}]` : reachable;
  return { ...sandbox, url: `http://${name}:${port}`, port };
}

function listen(server: Server, { host = '127.0.0.1', port = 0 }: SandboxOptions): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host, () => {
      server.off('error', reject);
      const address = server.address();
      resolve(typeof address === 'object' && address !== null ? address.port : port);
    });
  });
}

/** Closes connections, because kept-alive ones would delay `close` for minutes. */
function closeServer(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve());
    server.closeAllConnections();
  });
}

function createForbiddenResponse(): ApiResponse {
  const title = 'The sandbox is not served under this name, or to this page.';
  const detail = `${title} --allow-host allows a name.`;
  return createErrorResponse(403, [
    { code: 'permission_denied', title, detail, source: { pointer: '/data/' } },
  ]);
}

/**
 * The URL as the client sees it. A request target that is not a path is treated as an unknown path.
 */
function parseRequestUrl(request: IncomingMessage): URL {
  const base = `http://${request.headers.host ?? 'localhost'}`;
  for (const [target, origin] of [
    [request.url ?? '/', base],
    [request.url ?? '/', 'http://localhost'],
  ] as const) {
    if (target.startsWith('/') && URL.canParse(`${origin}${target}`)) {
      return new URL(`${origin}${target}`);
    }
  }
  return new URL('http://localhost/unknown');
}

/** Responds with 500 after an error of the sandbox itself, never after a scripted fault. */
function respondWithFailure(response: ServerResponse, error: unknown): void {
  if (response.headersSent || response.destroyed) return;
  const detail = `sandbox: ${error instanceof Error ? error.message : 'unknown error'}`;
  const source = { pointer: '/data' };
  sendResponse(
    response,
    createErrorResponse(500, [
      { code: 'error', title: 'A server error occurred.', detail, source },
    ]),
  );
}
