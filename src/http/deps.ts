import type { FastifyBaseLogger, FastifyInstance } from 'fastify';
import type { Clock } from '../clock.js';
import type { DeadLetterFilter } from '../model/dead-letter.js';
import type { Lane } from '../model/lane.js';
import type { Issue } from '../model/outcome.js';
import type { Backpressure, HeldOfPerson, Receipt, Store } from '../model/store.js';
import type { Accept } from '../ingest/accept.js';
import type { AcceptFromSource } from '../ingest/accept-from-source.js';
import type { ActivityCount } from '../ingest/source-activity.js';
import type { Metrics } from '../metrics.js';
import type { SourceDocs } from '../sources/source.js';
import type { Keyring } from './plugins/auth.js';
import type { CountCaller, CountShared } from './plugins/rate-limit.js';
import type { Unadmitted } from './plugins/unadmitted.js';

/**
 * The settings that the HTTP layer reads, with the names and units of the configuration. Keys may be
 * replaced while the server runs, so they are read at each use.
 */
export type HttpSettings = {
  readonly RELAY_API_KEYS: readonly string[];
  readonly RELAY_ADMIN_KEYS: readonly string[];
  /** Null: no quota. */
  readonly INGEST_RATE_LIMIT_PER_SECOND: number | null;
  /** After decompression. */
  readonly BODY_LIMIT_BYTES: number;
  readonly HEADERS_TIMEOUT_MS: number;
  readonly REQUEST_TIMEOUT_MS: number;
  readonly SHUTDOWN_TIMEOUT_MS: number;
  /** True: any proxy is trusted; a number: that many proxies in a row; a list: their addresses and networks. */
  readonly TRUST_PROXY: boolean | number | string[];
};

/** A receipt, with what only erasures have. */
export type ShownReceipt = Receipt & {
  /** The erasure that removed the envelope. */
  readonly erasedBy?: string;
  /** Of an erasure: what it did at both ends. */
  readonly erasure?: {
    /** What was removed from this relay; null before the first removal. `at`: epoch ms. */
    readonly removed: {
      readonly at: number;
      readonly envelopes: number;
      readonly deadLetters: number;
      readonly facts: number;
    } | null;
    readonly klaviyo: 'pending' | 'requested' | 'no_profile' | 'rejected';
  };
};

/** What the relay holds about a person. */
export type ShownPerson = {
  readonly hash: string;
  readonly held: HeldOfPerson;
  /** Ids of unsettled erasures. */
  readonly erasures: readonly string[];
  /** The latest erasure. `at`: epoch ms. */
  readonly erased: { readonly id: string; readonly at: number } | null;
};

/** What the admin routes read and change. */
export type HttpViews = Pick<
  Store,
  'deliveries' | 'delivery' | 'deadLetters' | 'deadLetter' | 'discard'
> & {
  receipt(id: string): Promise<ShownReceipt | null>;
  /** What the relay holds about a person. Exactly one identifier must be given. */
  person(posted: {
    readonly email?: string | undefined;
    readonly phone_number?: string | undefined;
    readonly distinct_id?: string | undefined;
  }): Promise<
    | { readonly ok: true; readonly person: ShownPerson }
    | { readonly ok: false; readonly errors: readonly Issue[] }
  >;
  personByHash(hash: string): Promise<ShownPerson>;
  /** Counts of the parts that sources sent since the relay started. */
  sources(): readonly ActivityCount[];
  /** A dead letter that still cannot be sent stays one: then fewer are redriven than matched. */
  redrive(
    filter: DeadLetterFilter,
    options: { dryRun: boolean },
  ): Promise<{
    readonly matched: number;
    readonly redriven: number;
    /** Set if the store accepted no more of them. */
    readonly backpressure: Backpressure | null;
  }>;
};

export type Readiness = {
  readonly ready: boolean;
  readonly checks: Readonly<Record<string, { readonly ok: boolean; readonly detail?: string }>>;
};

/** The routes of one source, in a scope of their own. They check the caller themselves. */
export type SourceRoutes = {
  readonly name: string;
  readonly docs: SourceDocs;
  /** Rewrites the URL of any request before it is routed. */
  readonly rewriteUrl?: (url: string) => string;
  readonly add: (scope: FastifyInstance, deps: AcceptingDeps) => void | Promise<void>;
};

export type ServerDeps = {
  readonly config: HttpSettings;
  readonly clock: Clock;
  readonly metrics: Metrics;
  readonly logger: FastifyBaseLogger;
  readonly accept: Accept;
  /** Accepts what a source's map makes of a request. */
  readonly acceptFromSource: AcceptFromSource;
  readonly sources: readonly SourceRoutes[];
  readonly views: HttpViews;
  readiness(): Readiness;
  /** The backpressure that the store would report now; checked before a body is read. */
  backpressure(): Backpressure | null;
  /** Sends batches before they are full. Absent lane: all lanes. Returns at once. */
  flush(lane?: Lane): void;
  /** Pauses a lane for an operator: nothing of it is sent until it is resumed. Both functions return at once. */
  pauseLane(lane: Lane): void;
  resumeLane(lane: Lane): void;
  isDraining(): boolean;
  /** Counts requests over all relays. Absent: a caller's quota applies to this relay only. */
  readonly countShared?: CountShared | undefined;
};

/** What all accepting routes share: one request count for each caller, and one bound for callers that are not admitted. */
export type AcceptingDeps = ServerDeps & {
  readonly countCaller: CountCaller;
  readonly keyring: Keyring;
  readonly unadmitted: Unadmitted;
};
