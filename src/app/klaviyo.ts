import type { Clock } from '../clock.js';
import type { Config } from '../config/config.js';
import { createKlaviyoClient, type KlaviyoClient } from '../klaviyo/client.js';
import { selectProxy } from '../klaviyo/proxy.js';
import { CurrentRevision, saveRevision } from '../klaviyo/revision.js';
import type { Logger } from '../log/logger.js';
import { lanes } from '../model/lane.js';
import type { Store } from '../model/store.js';

export type Klaviyo = {
  readonly client: KlaviyoClient;
  readonly revision: CurrentRevision;
  /** The address of the proxy without its credentials; null without a proxy. */
  readonly proxyOrigin: string | null;
};

export type KlaviyoDeps = {
  readonly config: Config;
  /** Read at each request, since a reload can replace the key. */
  readonly apiKey: () => string;
  readonly clock: Clock;
  readonly log: Logger;
  readonly version: string;
  /** Where a revision that Klaviyo forced is kept. Called once a move has happened. */
  readonly store: () => Pick<Store, 'putFacts' | 'getFacts'>;
};

/** The client of Klaviyo's API and the revision that it uses. */
export function createKlaviyo({
  config,
  apiKey,
  clock,
  log,
  version,
  store,
}: KlaviyoDeps): Klaviyo {
  const proxy = selectProxy(config.KLAVIYO_BASE_URL, config);
  const revision = new CurrentRevision({
    setting: config.KLAVIYO_REVISION,
    now: clock.now(),
    onMove(move) {
      log.warn(
        move,
        'Klaviyo does not serve the revision any longer: the relay uses the next tested one',
      );
      void saveRevision(store(), move.to);
    },
  });
  const client = createKlaviyoClient({
    apiKey,
    baseUrl: config.KLAVIYO_BASE_URL,
    revision,
    timeoutMs: config.KLAVIYO_TIMEOUT_MS,
    connections: config.DELIVERY_CONCURRENCY * lanes.length + 1,
    proxy,
    clock,
    version,
  });
  return { client, revision, proxyOrigin: proxy?.origin ?? null };
}
