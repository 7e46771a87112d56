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
import type { HttpSettings, HttpViews, ServerDeps } from '../../src/http/deps.js';
import { createServer } from '../../src/http/server.js';
import type { AcceptedMany, AcceptedOne } from '../../src/ingest/accept.js';
import {
  sourceSettings,
  createSourceRoutes,
  type AllSourceValues,
} from '../../src/sources/list.js';
import { createMetrics, type Metrics } from '../../src/metrics.js';
import { createManualClock, type ManualClock } from '../support/manual-clock.js';
import { checkAnswer } from './answer-check.js';

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

export const takenOne: AcceptedOne = { kind: 'accepted', id: 'e1', duplicate: false, warnings: [] };
export const takenMany: AcceptedMany = {
  kind: 'accepted',
  accepted: 2,
  duplicates: 1,
  ids: ['e1', 'e2', 'e3'],
  rejected: [],
  rejectedCount: 0,
  warningCount: 0,
  warnings: [],
};

export const noViews: HttpViews = {
  sources: () => [],
  receipt: () => Promise.resolve(null),
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

export type Answer = {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
  /** Parsed where it is JSON, problems included. */
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
  /** What reached `accept`. */
  readonly accepted: readonly Accepted[];
  /** Log lines, parsed. */
  readonly logged: readonly Readonly<Record<string, unknown>>[];
  /** One request over real HTTP. Fails where the answer is not what openapi.yaml would promise. */
  call(method: string, path: string, options?: CallOptions): Promise<Answer>;
  /** `call` with a JSON body. */
  post(path: string, body: unknown, headers?: Readonly<Record<string, string>>): Promise<Answer>;
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

/** A server on a free port, closed when the test ends. Without overrides: no keys, and everything is taken. */
export async function startServer(overrides: Overrides = {}): Promise<ServerUnderTest> {
  const { one = takenOne, many = takenMany, logLevel = 'info', ...deps } = overrides;
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
    acceptFromSource: () => Promise.reject(new Error('not asked')),
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
  ): Promise<Answer> => {
    const sent = request(url + path, { method, agent, headers });
    sent.end(body);
    const answer = await readAnswer(sent);
    checkAnswer(app, { method, path, answer });
    return answer;
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

/** The whole answer, whether or not the request was sent in full. Rejects where none comes. */
export async function readAnswer(sent: ClientRequest): Promise<Answer> {
  const response = await new Promise<IncomingMessage>((resolve, reject) => {
    sent.once('response', resolve);
    // Stays: breaking off a request that was answered is an error, too.
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

/** Holds something up until the test says so. */
export function createGate(): { readonly opened: Promise<void>; open(): void } {
  let open = (): void => undefined;
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { opened, open: () => open() };
}

/** What a problem names itself, without the part that all of them share. */
export function problemOf({ json }: Answer): string {
  const type = typeof json === 'object' && json !== null && 'type' in json ? String(json.type) : '';
  return type.replace('urn:klaviyo-relay:problem:', '');
}

/** The value of one metric with these labels; undefined where it was never touched. */
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
