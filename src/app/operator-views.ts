import type { HttpViews } from '../http/server.js';
import type { Reingest } from '../ingest/reingest.js';
import type { SourceActivity } from '../ingest/source-activity.js';
import type { Metrics } from '../metrics.js';
import type { DeadLetterFilter } from '../model/dead-letter.js';
import type { createPrivacyViews } from './privacy-views.js';
import { lanes } from '../model/lane.js';
import type { Store } from '../model/store.js';

type OperatorViewDeps = {
  readonly store: Store;
  readonly metrics: Pick<Metrics, 'ingest' | 'redriven'>;
  readonly reingest: Reingest;
  readonly activity: Pick<SourceActivity, 'list'>;
};

/** What operators can look up and decide: deliveries, dead letters, and the activity of sources. */
export function createOperatorViews({
  store,
  metrics,
  reingest,
  activity,
}: OperatorViewDeps): Omit<HttpViews, keyof ReturnType<typeof createPrivacyViews>> {
  /** Redrives what was sent before. It counts as accepted, so that accepted = settled + buffered holds. */
  const redriveSent = async (
    filter: DeadLetterFilter,
    dryRun: boolean,
  ): Promise<{ matched: number; redriven: number }> => {
    const total = { matched: 0, redriven: 0 };
    for (const lane of lanes.filter((each) => each === (filter.lane ?? each))) {
      const count = await store.redrive({ ...filter, lane, neverSent: false }, { dryRun });
      total.matched += count;
      if (dryRun) continue;
      total.redriven += count;
      metrics.ingest.inc({ lane, outcome: 'accepted' }, count);
      metrics.redriven.inc({ lane }, count);
    }
    return total;
  };

  return {
    sources: () => activity.list(),
    deliveries: (filter, page) => store.deliveries(filter, page),
    delivery: (id) => store.delivery(id),
    deadLetters: (filter, page) => store.deadLetters(filter, page),
    deadLetter: (id) => store.deadLetter(id),
    discard: (filter, options) => store.discard(filter, options),
    async redrive(filter, { dryRun }) {
      const reingested = await reingest(filter, { dryRun });
      const { backpressure } = reingested;
      const sent =
        backpressure === null ? await redriveSent(filter, dryRun) : { matched: 0, redriven: 0 };
      return {
        matched: reingested.matched + sent.matched,
        redriven: reingested.reingested + sent.redriven,
        backpressure,
      };
    },
  };
}
