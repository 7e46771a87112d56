import type { Clock } from '../clock.js';
import type { Metrics } from '../metrics.js';
import type { SourcePost } from './source-entry.js';

/** The outcome of one part of a source's request. */
export type ActivityOutcome =
  'accepted' | 'duplicate' | 'waiting' | 'skipped' | 'altered' | 'dead_lettered';

export type ActivityPart = {
  /** Name that the source gives the part. Absent: the topic of the request. */
  readonly kind?: string | undefined;
  /** Id that the source gives the part. Absent: the id of the delivery. */
  readonly id?: string | undefined;
  readonly outcome: ActivityOutcome;
  /** Short and stable. For an altered part: the code of the warning. */
  readonly reason?: string | undefined;
};

/** One line of GET /v1/sources. Counts start when the relay starts. */
export type ActivityCount = {
  readonly source: string;
  readonly kind: string;
  readonly outcome: ActivityOutcome;
  readonly reason: string | null;
  readonly count: number;
  /** Epoch ms of the newest part. */
  readonly at: number;
  /** The source's id of the newest part that has one. */
  readonly example: string | null;
};

/** Maximum number of kinds of one source, because callers choose their names. Further kinds count as `other`. */
const maxKinds = 100;
/** Characters of a kind or an id; longer ones are cut. */
const maxNameChars = 200;

/** Counts the outcomes of the parts of sources' requests, in the memory of this process. */
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
      const counted = this.#boundKind(source, kind);
      const key = [source, counted, outcome, reason].join('\n');
      const before = this.#counts.get(key);
      const example = id?.slice(0, maxNameChars) ?? before?.example ?? null;
      const count = (before?.count ?? 0) + 1;
      this.#counts.set(key, { source, kind: counted, outcome, reason, count, at, example });
    }
  }

  /** All counts, sorted by source, kind, outcome and reason. */
  list(): readonly ActivityCount[] {
    const toKey = ({ source, kind, outcome, reason }: ActivityCount): string =>
      [source, kind, outcome, reason].join('\n');
    return [...this.#counts.values()].sort((a, b) => (toKey(a) < toKey(b) ? -1 : 1));
  }

  #boundKind(source: string, kind: string): string {
    const kinds = this.#kinds.get(source) ?? new Set();
    this.#kinds.set(source, kinds);
    const name = kind.slice(0, maxNameChars);
    if (kinds.size < maxKinds) kinds.add(name);
    return kinds.has(name) ? name : 'other';
  }
}
