import type { Clock } from '../clock.js';
import type { Metrics } from '../metrics.js';
import type { SourcePost } from './source-entry.js';

/** What became of one part of a source's request. */
export type ActivityOutcome =
  'accepted' | 'duplicate' | 'waiting' | 'skipped' | 'altered' | 'dead_lettered';

export type ActivityPart = {
  /** Absent: the topic of the request. */
  readonly kind?: string | undefined;
  /** Absent: the id of the delivery. */
  readonly id?: string | undefined;
  readonly outcome: ActivityOutcome;
  /** Stable and short. Of an altered part: the code of the warning. */
  readonly reason?: string | undefined;
};

/** One line of GET /v1/sources: since the relay started. */
export type ActivityCount = {
  readonly source: string;
  readonly kind: string;
  readonly outcome: ActivityOutcome;
  readonly reason: string | null;
  readonly count: number;
  /** Epoch ms of the newest. */
  readonly at: number;
  /** The source's own id of the newest one that has an id. */
  readonly example: string | null;
};

/** Kinds counted for one source, at most: a caller chooses their names. Others count as `other`. */
const maxKinds = 100;
/** Characters of a kind or an id that are kept. */
const maxChars = 200;

/** Counts what becomes of the parts of sources' requests, in the memory of this process. */
export class SourceActivity {
  readonly #clock: Pick<Clock, 'now'>;
  readonly #skipped: Metrics['sourceSkipped'];
  readonly #counts = new Map<string, ActivityCount>();
  readonly #kinds = new Map<string, Set<string>>();

  constructor({
    clock,
    metrics,
  }: {
    readonly clock: Pick<Clock, 'now'>;
    readonly metrics: Pick<Metrics, 'sourceSkipped'>;
  }) {
    this.#clock = clock;
    this.#skipped = metrics.sourceSkipped;
  }

  add(
    { source, topic = '', delivery }: Pick<SourcePost, 'source' | 'topic' | 'delivery'>,
    parts: readonly ActivityPart[],
  ): void {
    const at = this.#clock.now();
    for (const { kind = topic, id = delivery, outcome, reason = null } of parts) {
      const isVisible = outcome === 'skipped' || outcome === 'altered';
      if (isVisible && reason !== null) this.#skipped.inc({ source, reason });
      const counted = this.#toKind(source, kind);
      const key = [source, counted, outcome, reason].join('\n');
      const before = this.#counts.get(key);
      const example = id?.slice(0, maxChars) ?? before?.example ?? null;
      const count = (before?.count ?? 0) + 1;
      this.#counts.set(key, { source, kind: counted, outcome, reason, count, at, example });
    }
  }

  /** By source, kind, outcome and reason. */
  list(): readonly ActivityCount[] {
    const toKey = ({ source, kind, outcome, reason }: ActivityCount): string =>
      [source, kind, outcome, reason].join('\n');
    return [...this.#counts.values()].sort((a, b) => (toKey(a) < toKey(b) ? -1 : 1));
  }

  #toKind(source: string, kind: string): string {
    const kinds = this.#kinds.get(source) ?? new Set();
    this.#kinds.set(source, kinds);
    const name = kind.slice(0, maxChars);
    if (kinds.size < maxKinds) kinds.add(name);
    return kinds.has(name) ? name : 'other';
  }
}
