import type { Clock } from '../clock.js';
import type { Config } from '../config/config.js';
import { createAccept, type Accept } from '../ingest/accept.js';
import { createAcceptFromSource, type AcceptFromSource } from '../ingest/accept-from-source.js';
import { SourceActivity } from '../ingest/source-activity.js';
import { Devices } from '../ingest/devices.js';
import { startThreads, type Threads } from '../ingest/threads.js';
import { withoutUnchangedOrders } from '../ingest/facts.js';
import {
  createWaitingEntries,
  toCheckIntervalMs,
  WaitingBounds,
  type WaitingEntries,
} from '../ingest/waiting.js';
import { toRules } from '../klaviyo/revision.js';
import type { Logger } from '../log/logger.js';
import type { Metrics } from '../metrics.js';
import type { Store } from '../model/store.js';
import { applyMapping } from '../sources/mapping/mapping.js';

export type AcceptHalf = {
  readonly accept: Accept;
  readonly acceptFromSource: AcceptFromSource;
  readonly activity: SourceActivity;
  readonly threads: Threads;
  readonly waiting: WaitingEntries;
  /** Removes from memory what an erasure removed from the store. */
  onErased(ids: readonly string[]): void;
};

export type AcceptHalfDeps = {
  /** MAPPING_FILE is read at each use, since a reload can replace it. */
  readonly settings: Config;
  readonly clock: Clock;
  /** Returns a new unique_id. */
  readonly newId: () => string;
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly store: Pick<
    Store,
    | 'append'
    | 'putFacts'
    | 'getFacts'
    | 'claim'
    | 'stillOwned'
    | 'settle'
    | 'onClaimable'
    | 'depth'
    | 'capacityBytes'
  >;
  /** The revision of Klaviyo's API in use; it decides what an event may hold. */
  readonly revision: { readonly current: string };
};

/** Validates, maps and appends what callers post, in the API's own form and in those of sources. */
export function startAcceptHalf(deps: AcceptHalfDeps): AcceptHalf {
  const { settings, clock, newId, log, metrics, store, revision } = deps;
  const threads = startThreads({
    count: settings.WORKERS,
    clock,
    defaultCountry: settings.DEFAULT_PHONE_COUNTRY,
    onThreadFailure(error) {
      metrics.draftingThreadFailures.inc();
      log.error({ err: error }, 'a drafting thread ended unexpectedly');
    },
    onGivenUp: () =>
      log.error('no drafting thread can be started: the main thread drafts large requests as well'),
  });
  const activity = new SourceActivity({ clock, metrics });
  const devices = new Devices(clock);
  const pipeline = {
    clock,
    newId,
    metrics,
    defaultCountry: settings.DEFAULT_PHONE_COUNTRY,
    eventRules: () => toRules(revision.current),
    backfillAfterMs: settings.BACKFILL_AFTER,
  };
  const waiting = createWaitingEntries({
    store,
    accept: createAcceptFromSource({ ...pipeline, store, activity, devices }),
    clock,
    maxAgeMs: settings.WAITING_MAX_AGE,
    checkEveryMs: toCheckIntervalMs(settings.WAITING_MAX_AGE),
    metrics,
    log,
  });
  const acceptFromSource = createAcceptFromSource({
    ...pipeline,
    store: { append: (drafts) => store.append(drafts), ...withoutUnchangedOrders(store) },
    activity,
    devices,
    waitingBounds: toWaitingBounds(settings, store),
    onFacts: (keys) => waiting.onFactsPut(keys),
    applyMapping: (post) => applyMapping(post, settings.MAPPING_FILE ?? {}),
  });
  const accept = createAccept({ ...pipeline, store, draftMany: threads.draftMany });
  return {
    accept,
    acceptFromSource,
    activity,
    threads,
    waiting,
    onErased(ids) {
      waiting.forget(ids);
      devices.clear();
    },
  };
}

/** Payload bytes of the lane `waiting`, at most. The relay keeps all of them in memory. */
const maxWaitingBytes = 64 * 1024 * 1024;

/** Waiting entries never fill more than a part of the buffer. Undefined if no entry waits. */
function toWaitingBounds(
  config: Config,
  store: Pick<Store, 'depth' | 'capacityBytes'>,
): WaitingBounds | undefined {
  if (config.WAITING_MAX_AGE === 0) return undefined;
  return new WaitingBounds({
    maxCount: Math.min(config.WAITING_MAX_COUNT, (config.MAX_BUFFER_COUNT ?? Infinity) / 2),
    maxBytes: Math.min(maxWaitingBytes, store.capacityBytes() / 4),
    depth: () => store.depth('waiting'),
  });
}
