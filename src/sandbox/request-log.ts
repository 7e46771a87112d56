import { createRing } from './ring.js';

/** One request under `/api`, whatever its outcome. */
export type LoggedRequest = {
  readonly endpoint: string;
  readonly method: string;
  readonly path: string;
  /** The `revision` header as sent; null if there was none. */
  readonly revision: string | null;
  /** Date of the revision that responded; null if none did. */
  readonly servedRevision: string | null;
  /** Epoch ms of the arrival. */
  readonly at: number;
  /** Null if the connection was reset or the client disconnected. */
  readonly status: number | null;
  /** Events or profiles in the body. */
  readonly count: number;
  /** Size of the body after decompression. */
  readonly bytes: number;
};

/** The log is bounded; the counts by status cover all requests. */
export type RequestLog = {
  push(request: LoggedRequest): void;
  newest(limit: number): readonly LoggedRequest[];
  /** Oldest first, at most the newest 10,000. */
  all(): readonly LoggedRequest[];
  /** All requests by status. `reset` counts those without a response. */
  byStatus(): Readonly<Record<string, number>>;
  total(): number;
};

export function createRequestLog(): RequestLog {
  const ring = createRing<LoggedRequest>(10_000);
  const byStatus = new Map<string, number>();
  return {
    push(request) {
      ring.push(request);
      const status = String(request.status ?? 'reset');
      byStatus.set(status, (byStatus.get(status) ?? 0) + 1);
    },
    newest: ring.newest,
    all: ring.all,
    byStatus: () => Object.fromEntries(byStatus),
    total: ring.total,
  };
}
