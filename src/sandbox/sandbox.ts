import { createServer } from 'node:http';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Clock } from '../clock.js';
import { createAccount } from './account.js';
import { toErrors } from './answer.js';
import type { Answer } from './answer.js';
import type { WindowOptions } from './endpoints.js';
import { createFaults, createSeededRandom, toFaultRules } from './faults.js';
import type { FaultRule, FaultScript } from './faults.js';
import { createHostCheck } from './hosts.js';
import { send, serveApi } from './serve.js';
import { toState } from './snapshot.js';
import type { SandboxState } from './snapshot.js';
import { serveViewer } from './viewer.js';

export { faultScriptSchema, FaultScriptError } from './faults.js';
export type { FaultRule, FaultScript } from './faults.js';
export type { SandboxState } from './snapshot.js';

export type SandboxOptions = {
  readonly clock: Clock;
  readonly host?: string;
  /** Names in Host that are served beside `host`, `localhost` and addresses. */
  readonly allowedHosts?: readonly string[];
  /** 0 picks a free one. */
  readonly port?: number;
  /** Any key that starts with `pk_` is fine where none are given. All keys share one account and its quota. */
  readonly apiKeys?: readonly string[];
  /** Scopes by key; a key that is not named has them all. */
  readonly scopes?: Readonly<Record<string, readonly string[]>>;
  /** Klaviyo's own where nothing is said; `off` for one endpoint or all. */
  readonly windows?: WindowOptions;
  /** Retires every revision two years after its release, as Klaviyo does. Without it, only fault rules do. */
  readonly retireByAge?: boolean;
  /** Ms from accepting a bulk import to its end. */
  readonly importDelayMs?: number;
  readonly faults?: FaultScript;
  /** Seeds the faults' probabilities. */
  readonly seed?: number;
  /** Events the feed keeps in full; counters and the memory of ids go on beyond it. */
  readonly maxEvents?: number;
  /** Ms every answer takes. */
  readonly latencyMs?: number;
};

/** Made, and not listening yet. */
export type Sandbox = {
  /** Listens and resolves with the port. Rejects where the address cannot be had. */
  readonly listen: () => Promise<number>;
  state(): SandboxState;
  /** Throws FaultScriptError. */
  addFault(rule: FaultRule): void;
  clearFaults(): void;
  /** Forgets everything and puts the faults back to those of the options. */
  reset(): void;
  /** Cuts what is open, cancels import jobs. Idempotent. */
  close(): Promise<void>;
};

export type RunningSandbox = Omit<Sandbox, 'listen'> & {
  readonly url: string;
  readonly port: number;
};

/** A strict stand-in for Klaviyo's API. Throws FaultScriptError where the fault script is not usable. */
export function createSandbox(options: SandboxOptions): Sandbox {
  const { clock, importDelayMs = 300, maxEvents = 100_000, latencyMs = 0 } = options;
  const accountOptions = { clock, importDelayMs, maxEvents };
  const faults = createFaults(createSeededRandom(options.seed ?? 1));
  const initialFaults = toFaultRules(options.faults ?? []);
  const closing = new AbortController();
  let account = createAccount(accountOptions);
  faults.add(initialFaults);

  const reset = (): void => {
    account.imports.close();
    account = createAccount(accountOptions);
    faults.clear();
    faults.add(initialFaults);
  };

  const serving = {
    clock,
    faults,
    windows: options.windows,
    retireByAge: options.retireByAge ?? false,
    apiKeys: options.apiKeys,
    scopes: options.scopes,
    latencyMs,
    closing: closing.signal,
  };
  const viewing = { account: () => account, faults, reset };

  const { host = '127.0.0.1', allowedHosts = [] } = options;
  const isServed = createHostCheck([host, ...allowedHosts]);
  const server = createServer((request, response) => {
    if (!isServed(request)) {
      send(response, toForeign());
      return;
    }
    const at = clock.now();
    const url = toUrl(request);
    const served = /^\/(?:api|client)(?:\/|$)/.test(url.pathname)
      ? serveApi({ request, response, url, account, at }, serving)
      : serveViewer(request, url, viewing).then((answer) => send(response, answer));
    served.catch((error: unknown) => fail(response, error));
  });
  // Longer than any client keeps an idle connection, so that only scripted resets happen.
  server.keepAliveTimeout = 120_000;

  let closed: Promise<void> | null = null;
  return {
    listen: () => listen(server, options),
    state: () => toState(account),
    addFault: (rule) => faults.add(toFaultRules(rule)),
    clearFaults: () => faults.clear(),
    reset,
    close() {
      closing.abort();
      account.imports.close();
      closed ??= stop(server);
      return closed;
    },
  };
}

/** Makes one and listens. Rejects where the address cannot be had or the fault script is not usable. */
export async function startSandbox(options: SandboxOptions): Promise<RunningSandbox> {
  const { listen: start, ...sandbox } = createSandbox(options);
  const port = await start();
  const { host = '127.0.0.1' } = options;
  // A URL to an address that means "every address" leads nowhere on some systems.
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

/** Connections that are kept alive would hold `close` for minutes. */
function stop(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve());
    server.closeAllConnections();
  });
}

function toForeign(): Answer {
  const title = 'The sandbox is not served under this name, or to this page.';
  const detail = `${title} --allow-host allows a name.`;
  return toErrors(403, [
    { code: 'permission_denied', title, detail, source: { pointer: '/data/' } },
  ]);
}

/** The URL as the sender sees it. A request target that is no path is answered as the root. */
function toUrl(request: IncomingMessage): URL {
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

/** A fault of the sandbox itself, never one that was scripted. */
function fail(response: ServerResponse, error: unknown): void {
  if (response.headersSent || response.destroyed) return;
  const detail = `sandbox: ${error instanceof Error ? error.message : 'unknown error'}`;
  const source = { pointer: '/data' };
  send(
    response,
    toErrors(500, [{ code: 'error', title: 'A server error occurred.', detail, source }]),
  );
}
