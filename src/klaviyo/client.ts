import type { Readable } from 'node:stream';
import { isBackfilled } from '../model/backfill.js';
import { wait, type Clock } from '../clock.js';
import type {
  PollResult,
  ImportedPayloads,
  ListedImportJobs,
  SendResult,
} from '../model/destination.js';
import type { Lane } from '../model/lane.js';
import type { Outcome } from '../model/outcome.js';
import { createConnections, type Connections } from './client-connections.js';
import { isSuccess } from './success.js';
import { pollImportJob } from './poll-import.js';
import { toCancellableBody } from './cancellable-body.js';
import type { ImportJobReader } from './import-responses.js';
import { listImportJobs } from './list-imports.js';
import { probeAccount, probeScopes, type AccountProbe, type ScopeProbe } from './probe.js';
import { toRateFeedback } from './rate-headers.js';
import { bulkPath, toBody } from './request.js';
import type { CurrentRevision } from './revision-in-use.js';
import { toBackfillRevision } from './revisions.js';
import { readBody } from './response-body.js';
import { toOutcomes } from './response.js';
import {
  toTransportFailure,
  type FailureCode,
  type TransportResponse,
  type KlaviyoRequest,
  type Transport,
} from './transport.js';

export type KlaviyoClientOptions = {
  /** Starts with `pk_`. Read for each request, since it may be replaced while the relay runs. */
  readonly apiKey: () => string;
  /** A path in it is kept, for a proxy that needs one. */
  readonly baseUrl: string;
  readonly revision: CurrentRevision;
  /** Of one attempt, from connecting to the last byte of the answer. */
  readonly timeoutMs: number;
  /** Open at once, at most; further requests wait for one, within their time. */
  readonly connections: number;
  /** The proxy on the way, with its credentials; null where there is none. */
  readonly proxy: URL | null;
  readonly clock: Clock;
  /** The relay's own, for the user agent. */
  readonly version: string;
};

/** Klaviyo's bulk APIs. Nothing here rejects for what the far side does. */
export type KlaviyoClient = {
  /** One request, one outcome a payload. `mayGo` is asked until the body has left; false breaks it off. */
  send(lane: Lane, payloads: readonly Uint8Array[], mayGo?: () => boolean): Promise<SendResult>;
  /** One look at an import job; `permit` is awaited before each request it takes, and its rejection passes through. */
  pollImportJob(
    ref: string,
    imported: ImportedPayloads,
    permit?: () => Promise<void>,
  ): Promise<PollResult>;
  /** Which of these import jobs are open, by the list of all; `permit` as above. */
  listImportJobs(
    refs: ReadonlySet<string>,
    permit?: () => Promise<void>,
  ): Promise<ListedImportJobs>;
  /** Whose key it is, and whether it is one at all. Klaviyo allows one such question a second. */
  probeAccount(): Promise<AccountProbe>;
  /** Whether the key may do what the relay needs; records nothing. */
  probeScopes(): Promise<readonly ScopeProbe[]>;
  /** Lets what is under way end, for a moment, then cuts it. Idempotent; later requests fail as `closed`. */
  close(): Promise<void>;
};

/** The media type of Klaviyo's OpenAPI. */
const mediaType = 'application/vnd.api+json';
/**
 * More of an answer is never needed: an error for each of 10,000 profiles fits, and so does a page of
 * 100 import errors, each with its profile of 100 KB.
 */
const maxAnswerBytes = { POST: 4_000_000, GET: 16_000_000 } as const;
const connectTimeoutMs = 10_000;
const closeGraceMs = 500;

/** Throws where the base URL is none. */
export function createKlaviyoClient(options: KlaviyoClientOptions): KlaviyoClient {
  const { clock, timeoutMs } = options;
  const connections = createConnections({
    ...options,
    baseUrl: new URL(options.baseUrl),
    connectTimeoutMs: Math.min(timeoutMs, connectTimeoutMs),
  });
  const transport = createTransport(connections, options);
  let closed: Promise<void> | undefined;
  const toFollowDeps = (permit?: () => Promise<void>): ImportJobReader => ({
    now: () => clock.now(),
    async get(path) {
      await permit?.();
      return transport({ method: 'GET', path });
    },
  });
  return {
    async send(lane, payloads, mayGo) {
      const body = toBody(lane, payloads);
      const backfilled = countBackfilled(lane, payloads);
      // Klaviyo refuses `backfill` in older revisions.
      const { current } = options.revision;
      const revision = backfilled > 0 ? toBackfillRevision(current) : current;
      const from = clock.monotonic();
      const reply = await transport({
        method: 'POST',
        path: bulkPath[lane],
        revision,
        body,
        stillOwned: mayGo,
      });
      const durationMs = clock.monotonic() - from;
      const request = { lane, count: payloads.length, bytes: body.length, backfilled };
      return toSent(reply, request, { durationMs, now: clock.now() });
    },
    pollImportJob: (ref, imported, permit) => pollImportJob(ref, imported, toFollowDeps(permit)),
    listImportJobs: (refs, permit) => listImportJobs(refs, toFollowDeps(permit)),
    probeAccount: () => probeAccount(transport),
    probeScopes: () => probeScopes(transport),
    close: () => (closed ??= closeConnections(connections, clock)),
  };
}

function createTransport(connections: Connections, options: KlaviyoClientOptions): Transport {
  const { clock, timeoutMs } = options;
  const { pool, pathPrefix } = connections;
  const headers = {
    ...connections.headers,
    // A retirement is an answer then, and no silent change of meaning.
    'x-klaviyo-revision-fall-forward-opt-out': '1',
    accept: mediaType,
    // Answers are small, and most are empty: what nobody recodes, nobody damages.
    'accept-encoding': 'identity',
    'user-agent': `klaviyo-relay/${options.version}`,
  };
  return async (request) => {
    const { method, path, body, stillOwned: mayGo } = request;
    const revision = request.revision ?? options.revision.current;
    const timeout = new AbortController();
    const timer = clock.setTimer(timeoutMs, () => timeout.abort());
    let status: number | null = null;
    try {
      const answer = await pool.request({
        method,
        path: pathPrefix + path,
        headers: {
          ...headers,
          revision,
          authorization: `Klaviyo-API-Key ${options.apiKey()}`,
          ...(body !== undefined && toBodyHeaders(body)),
        },
        body: toUndiciBody(body, mayGo),
        signal: timeout.signal,
      });
      status = answer.statusCode;
      const read = await readBody(answer.body, answer.headers, maxAnswerBytes[method]);
      const reply = { ok: true, status, headers: answer.headers, ...read } as const;
      const movedTo = options.revision.noteResponse(revision, request, reply);
      return movedTo === null ? reply : { ...reply, movedTo };
    } catch (error) {
      return toTransportFailure(error, { isTimedOut: timeout.signal.aborted, status });
    } finally {
      timer.cancel();
    }
  };
}

function toUndiciBody(
  body: Buffer | undefined,
  mayGo: KlaviyoRequest['stillOwned'],
): Buffer | Readable | null {
  if (body === undefined || mayGo === undefined) return body ?? null;
  // eslint-disable-next-line @typescript-eslint/no-unsafe-class-instance-assignment -- undici takes any iterable; its types leave that out
  return toCancellableBody(body, mayGo) as Generator<Buffer> & Readable;
}

function toBodyHeaders(body: Buffer): Record<string, string> {
  return { 'content-type': mediaType, 'content-length': String(body.length) };
}

function countBackfilled(lane: Lane, payloads: readonly Uint8Array[]): number {
  return payloads.reduce((count, payload) => count + (isBackfilled(lane, payload) ? 1 : 0), 0);
}

type Requested = Pick<SendResult, 'bytes' | 'backfilled'> & {
  readonly lane: Lane;
  readonly count: number;
};

function toSent(
  reply: TransportResponse,
  { lane, count, ...facts }: Requested,
  { durationMs, now }: { readonly durationMs: number; readonly now: number },
): SendResult {
  const { status } = reply;
  if (reply.ok) {
    const outcomes = toMoved(reply, count) ?? toOutcomes({ ...reply, lane, count, now });
    const feedback = toRateFeedback(reply.headers, now);
    return { outcomes, status, ...facts, durationMs, feedback };
  }
  const outcome = toUnanswered(reply);
  const outcomes = Array.from({ length: count }, () => outcome);
  return { outcomes, status, ...facts, durationMs, feedback: null };
}

/** Where Klaviyo refused the revision, nothing was taken, and the same goes again under the next one. */
function toMoved(
  { movedTo, status }: TransportResponse & { readonly ok: true },
  count: number,
): readonly Outcome[] | null {
  if (movedTo === undefined || isSuccess(status)) return null;
  const detail = `Klaviyo does not serve the revision any more; sent again under ${movedTo}`;
  const reason = { code: 'revision_moved', detail, status };
  return Array<Outcome>(count).fill({ kind: 'retryable', reason, afterMs: 0 });
}

/**
 * Sending again is safe: events carry their unique_id, and an import writes the same once more. A 202
 * that broke off says nothing, either: whether its body is empty is known at its end.
 */
function toUnanswered({ status, code, detail }: TransportResponse & { ok: false }): Outcome {
  const reason = { code, detail, ...(status !== null && { status }) };
  // Only a person can put right what a proxy wants to be told.
  if (code === 'proxy_auth') return { kind: 'blocked', reason, advice: adviceOnProxy };
  return { kind: 'retryable', reason, ...(ofContent.has(code) && { mayBeContent: true }) };
}

const adviceOnProxy = 'proxy: correct the user and the password in HTTPS_PROXY';

/** Klaviyo was reached, and a record may have made it fall over. */
const ofContent: ReadonlySet<FailureCode> = new Set(['timeout', 'reset', 'protocol', 'network']);

async function closeConnections(connections: Connections, clock: Clock): Promise<void> {
  const ended = new AbortController();
  await Promise.race([connections.pool.close(), wait(clock, closeGraceMs, ended.signal)]);
  ended.abort();
  await connections.destroy();
}
