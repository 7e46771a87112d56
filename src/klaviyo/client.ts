import { Pool } from 'undici';
import type { Clock } from '../clock.js';
import type { Followed, Lane, Outcome, Sent } from '../envelope.js';
import { followImport } from './follow-import.js';
import { probeScopes, type ScopeProbe } from './probe.js';
import { toRateFeedback } from './rate-headers.js';
import { bulkPath, toBody } from './request.js';
import { toOutcomes } from './response.js';
import { toFailure, type Reply, type Transport } from './transport.js';

export type KlaviyoClientOptions = {
  readonly apiKey: string;
  readonly baseUrl: string;
  readonly revision: string;
  /** Of one attempt, from connecting to the last byte of the answer. */
  readonly timeoutMs: number;
  /** Open at once, at most. */
  readonly connections: number;
  readonly clock: Clock;
  readonly version: string;
};

/** Klaviyo's bulk APIs. Nothing here rejects for what the far side does. */
export type KlaviyoClient = {
  /** One request, one outcome a payload. */
  send(lane: Lane, payloads: readonly Uint8Array[]): Promise<Sent>;
  /** One look at an import job; `permit` is awaited before each request it takes. */
  follow(
    ref: string,
    payloads: readonly Uint8Array[],
    permit: () => Promise<void>,
  ): Promise<Followed>;
  /** Whether the key works and may do what the relay needs; records nothing. */
  probeScopes(): Promise<readonly ScopeProbe[]>;
  close(): Promise<void>;
};

const mediaType = 'application/vnd.api+json';
/** More of an answer is never needed: 100 import errors with their payloads fit. */
const maxAnswerBytes = 16_000_000;

export function createKlaviyoClient(options: KlaviyoClientOptions): KlaviyoClient {
  const { clock } = options;
  const pool = new Pool(new URL(options.baseUrl).origin, {
    connections: options.connections,
    pipelining: 1,
  });
  const transport = createTransport(pool, options);
  return {
    async send(lane, payloads) {
      const body = toBody(lane, payloads);
      const from = clock.monotonic();
      const reply = await transport({ method: 'POST', path: bulkPath[lane], body });
      const durationMs = clock.monotonic() - from;
      return toSent(reply, {
        lane,
        count: payloads.length,
        bytes: body.length,
        durationMs,
        now: clock.now(),
      });
    },
    follow: (ref, payloads, permit) =>
      followImport(ref, payloads, {
        now: () => clock.now(),
        async get(path) {
          await permit();
          return transport({ method: 'GET', path });
        },
      }),
    probeScopes: () => probeScopes(transport),
    close: () => pool.destroy(),
  };
}

function createTransport(
  pool: Pool,
  { baseUrl, apiKey, revision, timeoutMs, version }: KlaviyoClientOptions,
): Transport {
  const prefix = new URL(baseUrl).pathname.replace(/\/$/, '');
  const headers = {
    authorization: `Klaviyo-API-Key ${apiKey}`,
    revision,
    accept: mediaType,
    'user-agent': `klaviyo-relay/${version}`,
  };
  return async ({ method, path, body }) => {
    try {
      const answer = await pool.request({
        method,
        path: prefix + path,
        headers: body === undefined ? headers : { ...headers, 'content-type': mediaType },
        body: body ?? null,
        signal: AbortSignal.timeout(timeoutMs),
      });
      const bodyText = await readText(answer.body);
      return { ok: true, status: answer.statusCode, headers: answer.headers, bodyText };
    } catch (error) {
      return toFailure(error);
    }
  };
}

async function readText(body: AsyncIterable<Buffer>): Promise<string> {
  const parts: Buffer[] = [];
  let bytes = 0;
  for await (const part of body) {
    bytes += part.length;
    if (bytes > maxAnswerBytes) break;
    parts.push(part);
  }
  return Buffer.concat(parts).toString();
}

type Facts = { lane: Lane; count: number; bytes: number; durationMs: number; now: number };

function toSent(reply: Reply, { lane, count, bytes, durationMs, now }: Facts): Sent {
  if (!reply.ok) {
    const { code, detail } = reply;
    const lost: Outcome = { kind: 'retryable', reason: { code, detail } };
    return {
      outcomes: Array.from({ length: count }, () => lost),
      status: null,
      bytes,
      durationMs,
      feedback: null,
    };
  }
  const { status, headers, bodyText } = reply;
  const outcomes = toOutcomes({ lane, count, status, headers, bodyText, now });
  return { outcomes, status, bytes, durationMs, feedback: toRateFeedback(headers, now) };
}
