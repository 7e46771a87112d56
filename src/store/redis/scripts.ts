import { factKinds } from '../../model/fact.js';
import {
  blockingLanes,
  counterLane,
  laneTraits,
  mapStoreLanes,
  storeLanes,
} from '../../model/lane.js';
import { loadScript } from '../../redis/load-script.js';
import { rateMemoryMs, reopenAt } from '../admission.js';
import { extraDrops } from '../facts.js';

/** Names, without the prefix, of the Redis keys that exist only while the store has content. lua/lib.lua describes them. */
const contentKeys: readonly string[] = [
  ...['seen', 'seen-log', 'letters', 'letter-orders', 'memos', 'memo-orders'],
  ...['facts', ...factKinds.map((kind) => `facts:${kind}`)],
  ...['deliveries', 'delivery-ranges', 'delivery-orders'],
  ...storeLanes.flatMap((lane) =>
    [
      ...['queue', 'redriven', 'redriven-at', 'stats', 'returned', 'delayed', 'claimed', 'tries'],
      ...['taken', 'reserved', 'waiters', 'waiting-keys', 'people'],
      ...['imports', 'orphans', 'settled'],
    ].map((name) => `${lane}:${name}`),
  ),
].map((name) => `:${name}`);

/** All keys of the store, as they follow the prefix. */
export const storeKeys: readonly string[] = [
  ...[':meta', ':account', ':relays', ':fences', ':changes', ':probe', ':none'],
  ...contentKeys,
];

const constants = {
  lanes: storeLanes,
  factKinds,
  contentKeys,
  reopenAt,
  rateMemoryMs,
  extraFactDrops: extraDrops,
  /** The lane whose counter gives a lane its numbers. */
  counters: mapStoreLanes(counterLane),
  after: Object.fromEntries(
    storeLanes.flatMap((lane) => {
      const { after } = laneTraits[lane];
      return after === undefined ? [] : [[lane, after]];
    }),
  ),
  blocking: blockingLanes,
  grouped: Object.fromEntries(
    storeLanes.flatMap((lane) => (laneTraits[lane].isGrouped === true ? [[lane, 1]] : [])),
  ),
};

const loadStoreScript = (name: string) =>
  loadScript(new URL(`lua/${name}.lua`, import.meta.url), { keys: storeKeys, constants });

/** The scripts of the store; each file describes its arguments and its reply. */
export const storeScripts = {
  append: loadStoreScript('append'),
  claim: loadStoreScript('claim'),
  settle: loadStoreScript('settle'),
  heartbeat: loadStoreScript('heartbeat'),
  leave: loadStoreScript('leave'),
  releaseClaims: loadStoreScript('release-claims'),
  adoptImportJobs: loadStoreScript('adopt-import-jobs'),
  redrive: loadStoreScript('redrive'),
  discard: loadStoreScript('discard'),
  listDeadLetters: loadStoreScript('list-dead-letters'),
  getDeadLetter: loadStoreScript('get-dead-letter'),
  getReceipt: loadStoreScript('get-receipt'),
  listDeliveries: loadStoreScript('list-deliveries'),
  getDelivery: loadStoreScript('get-delivery'),
  putFacts: loadStoreScript('put-facts'),
  getFacts: loadStoreScript('get-facts'),
  erase: loadStoreScript('erase'),
  listEnvelopes: loadStoreScript('list-envelopes'),
  listFacts: loadStoreScript('list-facts'),
  removeFacts: loadStoreScript('remove-facts'),
};
