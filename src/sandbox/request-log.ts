import { createRing } from './ring.js';

/** One request under `/api`, whatever became of it. */
export type LoggedRequest = {
  readonly endpoint: string;
  readonly method: string;
  readonly path: string;
  /** The `revision` header as it was sent; null where there was none. */
  readonly revision: string | null;
  /** Date of the revision that answered; null where none did. */
  readonly servedRevision: string | null;
  /** Epoch ms of the arrival. */
  readonly at: number;
  /** Null where the connection was cut or the sender went away. */
  readonly status: number | null;
  /** Events or profiles in the body. */
  readonly count: number;
  /** Body after decompression. */
  readonly bytes: number;
};

/** Bounded; the counts by status are not. */
export type RequestLog = {
  push(request: LoggedRequest): void;
  newest(limit: number): readonly LoggedRequest[];
  /** Oldest first; the newest 10,000. */
  all(): readonly LoggedRequest[];
  /** All there ever were, by status; `reset` where the connection was cut. */
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
