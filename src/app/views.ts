import { lanes } from '../model/lane.js';
import type { Receipt } from '../model/store.js';
import { toUnavailable } from '../http/plugins/problems.js';
import { toBackpressureProblem } from '../http/plugins/backpressure.js';
import type { HttpViews } from '../http/server.js';
import type { Reingest } from '../ingest/reingest.js';
import type { SourceActivity } from '../ingest/source-activity.js';
import type { Metrics } from '../metrics.js';
import { UnavailableError } from '../redis/connection.js';
import type { Store } from '../model/store.js';

const awayRetryAfterMs = 1000;

type ViewDeps = {
  readonly store: Store;
  readonly metrics: Metrics;
  readonly mend: Reingest;
  readonly activity: Pick<SourceActivity, 'list'>;
};

/** What callers may look at and decide on: the store's, and again through the door what never left it. */
export function toViews({ store, metrics, mend, activity }: ViewDeps): HttpViews {
  return {
    sources: () => activity.list(),
    receipt: async (id) => toReceipt(await unlessAway(store.receipt(id))),
    deliveries: (filter, page) => unlessAway(store.deliveries(filter, page)),
    delivery: (id) => unlessAway(store.delivery(id)),
    deadLetters: (filter, page) => unlessAway(store.deadLetters(filter, page)),
    deadLetter: (id) => unlessAway(store.deadLetter(id)),
    discard: (filter, options) => unlessAway(store.discard(filter, options)),
    async redrive(filter, options) {
      const { matched, reingested: mended, backpressure } = await unlessAway(mend(filter, options));
      if (backpressure !== null) throw toBackpressureProblem(backpressure);
      const total = { matched, redriven: mended };
      for (const lane of lanes.filter((each) => each === (filter.lane ?? each))) {
        const sent = { ...filter, lane, neverSent: false };
        const count = await unlessAway(store.redrive(sent, options));
        total.matched += count;
        if (options.dryRun) continue;
        total.redriven += count;
        // It counts as an acceptance, so that accepted = settled + buffered stays true.
        metrics.ingest.inc({ lane, outcome: 'accepted' }, count);
        metrics.redriven.inc({ lane }, count);
      }
      return total;
    },
  };
}

/** What waits is held by a relay, and in no request. */
function toReceipt(receipt: Receipt | null): Receipt | null {
  return receipt?.lane === 'waiting' ? { ...receipt, state: 'buffered' } : receipt;
}

/** A store at a server that is away is no fault of the relay: 503, as for intake. */
export async function unlessAway<T>(answer: Promise<T>): Promise<T> {
  try {
    return await answer;
  } catch (error) {
    if (!(error instanceof UnavailableError)) throw error;
    throw toUnavailable('the store is not available', awayRetryAfterMs);
  }
}
