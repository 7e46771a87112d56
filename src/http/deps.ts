import type { FastifyBaseLogger, FastifyInstance } from 'fastify';
import type { OpenAPIV3_1 } from 'openapi-types';
import type { Clock } from '../clock.js';
import type { DeadLetter, DeadLetterFilter } from '../model/dead-letter.js';
import type { Delivery, DeliveryFilter } from '../model/delivery.js';
import type { Lane } from '../model/lane.js';
import type { Page, PageQuery } from '../model/store.js';
import type { Receipt } from '../model/store.js';
import type { Accept } from '../ingest/accept.js';
import type { Backpressure } from '../model/store.js';
import type { AcceptFromSource } from '../ingest/accept-from-source.js';
import type { ActivityCount } from '../ingest/source-activity.js';
import type { Metrics } from '../metrics.js';
import type { Keyring } from './plugins/auth.js';
import type { CountCaller, CountShared } from './plugins/rate-limit.js';
import type { Unadmitted } from './plugins/unadmitted.js';

/**
 * The settings that the HTTP layer reads, by the names and in the units of config.ts. Keys and secrets
 * may be replaced while it runs, so they are read at each use.
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
  /** True: every proxy; a number: so many in a row; else their addresses and networks. */
  readonly TRUST_PROXY: boolean | number | string[];
};

/** What callers may look at and decide on; every store is one. */
export type HttpViews = {
  /** What sources sent since the relay started. */
  sources(): readonly ActivityCount[];
  receipt(id: string): Promise<Receipt | null>;
  deliveries(filter: DeliveryFilter, page: PageQuery): Promise<Page<Delivery>>;
  delivery(id: string): Promise<Delivery | null>;
  deadLetters(filter: DeadLetterFilter, page: PageQuery): Promise<Page<DeadLetter>>;
  deadLetter(id: string): Promise<DeadLetter | null>;
  /** What cannot be sent yet stays: then fewer are redriven than matched. */
  redrive(
    filter: DeadLetterFilter,
    options: { dryRun: boolean },
  ): Promise<{
    readonly matched: number;
    readonly redriven: number;
    /** Set if the store accepted no more of them. */
    readonly backpressure: Backpressure | null;
  }>;
  discard(filter: DeadLetterFilter, options: { dryRun: boolean }): Promise<number>;
};

export type Readiness = {
  readonly ready: boolean;
  readonly checks: Readonly<Record<string, { readonly ok: boolean; readonly detail?: string }>>;
};

/** What openapi.yaml says of a source. */
export type SourceDocs = {
  readonly description: string;
  readonly securitySchemes: Readonly<Record<string, OpenAPIV3_1.SecuritySchemeObject>>;
};

/** The routes of one source, added in a scope of their own. They check the caller themselves. */
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
  /** For requests in the form of a source. */
  readonly acceptFromSource: AcceptFromSource;
  readonly sources: readonly SourceRoutes[];
  readonly views: HttpViews;
  readiness(): Readiness;
  /** Whether the store would take nothing now; asked before a body is read. */
  backpressure(): Backpressure | null;
  /** Without a lane: all lanes. Returns at once. */
  flush(lane?: Lane): void;
  /** By hand: nothing of the lane leaves until it is resumed. Both return at once. */
  pauseLane(lane: Lane): void;
  resumeLane(lane: Lane): void;
  isDraining(): boolean;
  /** Absent: a caller's quota holds for this relay alone. */
  readonly countShared?: CountShared | undefined;
};

/** What the routes that accept share: one count of each caller's requests, one bound for callers that are not admitted. */
export type AcceptingDeps = ServerDeps & {
  readonly countCaller: CountCaller;
  readonly keyring: Keyring;
  readonly unadmitted: Unadmitted;
};
