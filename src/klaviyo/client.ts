import { isBackfilled } from '../model/backfill.js';
import { wait, type Clock } from '../clock.js';
import type { JobAddress } from '../model/delivery.js';
import type {
  ImportedPayloads,
  ListedImportJobs,
  PollResult,
  SendResult,
} from '../model/destination.js';
import type { Lane } from '../model/lane.js';
import { createConnections } from './connections.js';
import { listImportJobs, pollImportJob, type ImportJobReader } from './import-jobs.js';
import { probeAccount, probeScopes, type AccountProbe, type ScopeProbe } from './probe.js';
import { toRateFeedback } from './rate-headers.js';
import { toPath } from './lanes/lane.js';
import { getLaneApi } from './lanes/list.js';
import { lookUp } from './look-up.js';
import { mergeProfiles } from './merge-profiles.js';
import { toRequestOutcomes } from './response.js';
import { toNewRevision, type CurrentRevision } from './revision.js';
import { createTransport } from './transport.js';

/**
 * The client of Klaviyo's API: bulk requests, import jobs, and the checks of the key. What Klaviyo does
 * is a value: no method rejects because of a response, a broken connection or a timeout.
 */
export type KlaviyoClient = {
  /** Merges profiles of one person, oldest first. The newer value of a field wins. */
  merge(payloads: readonly Uint8Array[]): Uint8Array;
  /**
   * Makes one bulk request, after the look-ups that its lane needs. The result has one outcome for each
   * payload. `stillOwned` is called until the body is sent; if it returns false, the request is cut off.
   */
  send(
    lane: Lane,
    payloads: readonly Uint8Array[],
    stillOwned?: () => boolean,
  ): Promise<SendResult>;
  /** Polls one import job. `permit` is awaited before each request; if it rejects, so does the poll. */
  pollImportJob(
    job: JobAddress,
    imported: ImportedPayloads,
    permit?: () => Promise<void>,
  ): Promise<PollResult>;
  /** Finds out which of these imports of profiles are open, with the list of all open ones. `permit` as above. */
  listImportJobs(
    refs: ReadonlySet<string>,
    permit?: () => Promise<void>,
  ): Promise<ListedImportJobs>;
  /** Returns the account that the key belongs to. Klaviyo allows one such request a second. */
  probeAccount(): Promise<AccountProbe>;
  /** Checks that the key has the scopes that the relay needs. Nothing is recorded. */
  probeScopes(): Promise<readonly ScopeProbe[]>;
  /** Gives open requests a moment to end, then cuts them off. Idempotent. Later requests fail with `closed`. */
  close(): Promise<void>;
};

export type KlaviyoClientOptions = {
  /** Starts with `pk_`. Read for each request, because the key may be replaced while the relay runs. */
  readonly apiKey: () => string;
  /** Its path precedes the path of each request, for proxies that need one. */
  readonly baseUrl: string;
  readonly revision: CurrentRevision;
  /** For one request, from connecting to the last byte of the response. */
  readonly timeoutMs: number;
  /** The most connections that may be open. Further requests wait until one is free, within their time limit. */
  readonly connections: number;
  /** The URL of the proxy with its credentials; null if there is none. */
  readonly proxy: URL | null;
  readonly clock: Clock;
  /** The relay's version, for the user agent. */
  readonly version: string;
};

const maxConnectTimeoutMs = 10_000;
const closeGraceMs = 500;

/** Throws if the base URL is invalid. */
export function createKlaviyoClient(options: KlaviyoClientOptions): KlaviyoClient {
  const { apiKey, revision, timeoutMs, clock, version, proxy } = options;
  const connections = createConnections({
    baseUrl: new URL(options.baseUrl),
    proxy,
    connections: options.connections,
    connectTimeoutMs: Math.min(timeoutMs, maxConnectTimeoutMs),
    clock,
  });
  const transport = createTransport(connections, { apiKey, revision, timeoutMs, clock, version });
  const createReader = (permit?: () => Promise<void>): ImportJobReader => ({
    now: () => clock.now(),
    async get(path) {
      await permit?.();
      return transport({ method: 'GET', path });
    },
  });

  const closeConnections = async (): Promise<void> => {
    const closed = new AbortController();
    await Promise.race([connections.pool.close(), wait(clock, closeGraceMs, closed.signal)]);
    closed.abort();
    await connections.destroy();
  };
  let closing: Promise<void> | undefined;

  return {
    merge: mergeProfiles,
    async send(lane, payloads, stillOwned) {
      const api = getLaneApi(lane);
      const backfilled = payloads.filter((payload) => isBackfilled(lane, payload)).length;
      const needsNewRevision =
        backfilled > 0 || payloads.some((each) => api.needsNewRevision?.(each) === true);
      const from = clock.monotonic();
      const found = await lookUp(lane, payloads, { transport, now: () => clock.now() });
      if (found.kind === 'done') {
        return {
          outcomes: found.outcomes,
          status: found.response.status,
          bytes: 0,
          backfilled,
          durationMs: clock.monotonic() - from,
          // The headers are those of another endpoint.
          feedback: null,
        };
      }
      const body = api.body.join(found.elements);
      const response = await transport({
        method: api.method ?? 'POST',
        path: toPath(api, payloads),
        revision: needsNewRevision ? toNewRevision(revision.current) : revision.current,
        body,
        stillOwned,
      });
      const durationMs = clock.monotonic() - from;
      const now = clock.now();
      const count = found.elements.length;
      return {
        outcomes: found.toOutcomes(toRequestOutcomes(response, { lane, count, now })),
        status: response.status,
        bytes: body.length,
        backfilled,
        durationMs,
        feedback: response.ok ? toRateFeedback(response.headers, now) : null,
      };
    },
    pollImportJob: (job, imported, permit) => pollImportJob(job, imported, createReader(permit)),
    listImportJobs: (refs, permit) => listImportJobs(refs, createReader(permit)),
    probeAccount: () => probeAccount(transport),
    probeScopes: () => probeScopes(transport),
    close: () => (closing ??= closeConnections()),
  };
}
