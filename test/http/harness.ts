import {
  Agent,
  request,
  type ClientRequest,
  type IncomingHttpHeaders,
  type IncomingMessage,
} from 'node:http';
import { connect } from 'node:net';
import { Writable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { pino } from 'pino';
import { onTestFinished } from 'vitest';
import { z } from 'zod';
import type { Lane } from '../../src/model/lane.js';
import type { HttpSettings, HttpViews, ServerDeps, ShownPerson } from '../../src/http/deps.js';
import { createServer } from '../../src/http/server.js';
import type { AcceptedMany, AcceptedOne } from '../../src/ingest/accept.js';
import { createSourceRoutes } from '../../src/http/routes/sources/source-routes.js';
import { sourceSettings, type AllSourceValues } from '../../src/sources/list.js';
import { createMetrics, type Metrics } from '../../src/metrics.js';
import { createManualClock, type ManualClock } from '../support/manual-clock.js';
import { checkResponse } from './response-check.js';

export const ingestKey = 'ingest-key-1';
export const adminKey = 'admin-key-1';

export type Settings = HttpSettings & AllSourceValues;

export const settings: Settings = {
  RELAY_API_KEYS: [],
  RELAY_ADMIN_KEYS: [],
  INGEST_RATE_LIMIT_PER_SECOND: null,
  BODY_LIMIT_BYTES: 10_000,
  HEADERS_TIMEOUT_MS: 10_000,
  REQUEST_TIMEOUT_MS: 10_000,
  SHUTDOWN_TIMEOUT_MS: 10_000,
  TRUST_PROXY: false,
  ...z.object(sourceSettings).parse({}),
};

export const acceptedOne: AcceptedOne = {
  kind: 'accepted',
  id: 'e1',
  listIds: [],
  removalIds: [],
  duplicate: false,
  warnings: [],
};
export const acceptedMany: AcceptedMany = {
  kind: 'accepted',
  accepted: 2,
  duplicates: 1,
  ids: ['e1', 'e2', 'e3'],
  rejected: [],
  rejectedCount: 0,
  warningCount: 0,
  warnings: [],
};

const nobody: ShownPerson = {
  hash: 'e0123456789012345678901',
  held: { envelopes: [], deadLetters: [], facts: [] },
  erasures: [],
  erased: null,
};

export const noViews: HttpViews = {
  sources: () => [],
  receipt: () => Promise.resolve(null),
  person: () => Promise.resolve({ ok: true, person: nobody }),
  personByHash: (hash) => Promise.resolve({ ...nobody, hash }),
  deliveries: () => Promise.resolve({ data: [], next: null }),
  delivery: () => Promise.resolve(null),
  deadLetters: () => Promise.resolve({ data: [], next: null }),
  deadLetter: () => Promise.resolve(null),
  redrive: () => Promise.resolve({ matched: 0, redriven: 0, backpressure: null }),
  discard: () => Promise.resolve(0),
};

export type Accepted = {
  readonly lane: Lane;
  readonly body: string;
  readonly options: Readonly<Record<string, unknown>>;
};

export type TestResponse = {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
  /** The parsed body if it is JSON, problems included. */
  readonly json: unknown;
};

export type CallOptions = {
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Buffer;
};

export type ServerUnderTest = {
  readonly url: string;
  readonly port: number;
  readonly clock: ManualClock;
  readonly metrics: Metrics;
  /** The calls of `accept`. */
  readonly accepted: readonly Accepted[];
  /** Log lines, parsed. */
  readonly logged: readonly Readonly<Record<string, unknown>>[];
  /** Sends one request over real HTTP. Fails if the response does not match openapi.yaml. */
  call(method: string, path: string, options?: CallOptions): Promise<TestResponse>;
  /** `call` with a JSON body. */
  post(
    path: string,
    body: unknown,
    headers?: Readonly<Record<string, string>>,
  ): Promise<TestResponse>;
  /** Sends bytes as they are and reads until the server closes. */
  raw(bytes: string): Promise<string>;
  close(): Promise<void>;
};

export type Overrides = Partial<Omit<ServerDeps, 'config' | 'views'>> & {
  readonly config?: Partial<Settings>;
  readonly views?: Partial<HttpViews>;
  readonly one?: AcceptedOne;
  readonly many?: AcceptedMany;
  readonly logLevel?: string;
};

/** Starts a server on a free port and closes it when the test ends. Without overrides, it has no keys and accepts everything. */
export async function startServer(overrides: Overrides = {}): Promise<ServerUnderTest> {
  const { one = acceptedOne, many = acceptedMany, logLevel = 'info', ...deps } = overrides;
  const accepted: Accepted[] = [];
  const logged: Record<string, unknown>[] = [];
  const clock = createManualClock();
  const metrics = createMetrics('0.0.0');
  const config = { ...settings, ...deps.config };
  const app = await createServer({
    clock,
    metrics,
    logger: pino({ level: logLevel }, toLineParser(logged)),
    accept: {
      one: (lane, body, options) => {
        accepted.push({ lane, body, options });
        return Promise.resolve(one);
      },
      many: (lane, body, options) => {
        accepted.push({ lane, body: body.toString(), options });
        return Promise.resolve(many);
      },
    },
    acceptFromSource: () => Promise.reject(new Error('acceptFromSource is not expected')),
    readiness: () => ({ ready: true, checks: {} }),
    backpressure: () => null,
    flush: () => undefined,
    pauseLane: () => undefined,
    resumeLane: () => undefined,
    isDraining: () => false,
    ...deps,
    sources: createSourceRoutes(config),
    config,
    views: { ...noViews, ...deps.views },
  });
  const url = await app.listen({ host: '127.0.0.1', port: 0 });
  const port = Number(new URL(url).port);
  const agent = new Agent({ keepAlive: true });

  const close = async (): Promise<void> => {
    agent.destroy();
    await app.close();
  };
  onTestFinished(close);

  const call = async (
    method: string,
    path: string,
    { headers = {}, body }: CallOptions = {},
  ): Promise<TestResponse> => {
    const sent = request(url + path, { method, agent, headers });
    sent.end(body);
    const result = await readResponse(sent);
    checkResponse(app, { method, path, response: result });
    return result;
  };

  return {
    url,
    port,
    clock,
    metrics,
    accepted,
    logged,
    call,
    post: (path, body, headers = {}) =>
      call('POST', path, {
        headers: { 'content-type': 'application/json', ...headers },
        body: JSON.stringify(body),
      }),
    raw: async (bytes) => {
      const socket = connect(port, '127.0.0.1');
      socket.write(bytes);
      return text(socket);
    },
    close,
  };
}

/** Reads the whole response, even if the request was not sent in full. Rejects if there is no response. */
export async function readResponse(sent: ClientRequest): Promise<TestResponse> {
  const response = await new Promise<IncomingMessage>((resolve, reject) => {
    sent.once('response', resolve);
    // This listener stays: aborting a request after its response is an error, too.
    sent.on('error', reject);
  });
  const { statusCode = 0, headers } = response;
  const body = await text(response);
  const isJson = body !== '' && (headers['content-type'] ?? '').includes('json');
  const json: unknown = isJson ? JSON.parse(body) : null;
  return { status: statusCode, headers, text: body, json };
}

const lineSchema = z.record(z.string(), z.unknown());

function toLineParser(lines: Record<string, unknown>[]): Writable {
  return new Writable({
    write(chunk: Buffer, _encoding, done) {
      for (const line of chunk.toString().trim().split('\n')) {
        lines.push(lineSchema.parse(JSON.parse(line)));
      }
      done();
    },
  });
}

/** Creates a promise that resolves when the test calls `open`. */
export function createGate(): { readonly opened: Promise<void>; open(): void } {
  let open = (): void => undefined;
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { opened, open: () => open() };
}

/** Returns the type of a problem without the prefix that all problems share. */
export function problemOf({ json }: TestResponse): string {
  const type = typeof json === 'object' && json !== null && 'type' in json ? String(json.type) : '';
  return type.replace('urn:klaviyo-relay:problem:', '');
}

/** Returns the value of a metric with these labels, or undefined if it was never set. */
export async function metricValue(
  metrics: Metrics,
  name: string,
  labels: Readonly<Record<string, string>>,
): Promise<number | undefined> {
  const metric = await metrics.registry.getSingleMetric(name)?.get();
  const sample = metric?.values.find((value) =>
    Object.entries(labels).every(([label, expected]) => value.labels[label] === expected),
  );
  return sample?.value;
}
