// The forwarder with the minimum of a relay: the relay's own code parses, validates, maps and serialises
// posted entries, which are synced to a log before the response and forwarded 1,000 (or PER_REQUEST) per
// request. Keys, order per person, dedupe, index, settlement and metrics are absent; the difference to the
// relay is their cost. No store can recover the difference to the forwarder. LANE=events or profiles.
import { randomUUID } from 'node:crypto';
import { createServer } from 'node:http';
import { buffer } from 'node:stream/consumers';
import { createForward } from './forward.js';
import { listen } from './listen.js';
import { append } from './synced-log.js';

// The built modules, with the types of src/.
const load = (/** @type {string} */ name) => import(new URL(name, import.meta.url).href);

const { createDraftMany } = /** @type {typeof import('../../src/ingest/draft-many.js')} */ (
  await load('../../dist/ingest/draft-many.js')
);
const { createToE164 } = /** @type {typeof import('../../src/ingest/phone.js')} */ (
  await load('../../dist/ingest/phone.js')
);
const { laneApis } = /** @type {typeof import('../../src/klaviyo/lanes/list.js')} */ (
  await load('../../dist/klaviyo/lanes/list.js')
);
const { toRules } = /** @type {typeof import('../../src/klaviyo/revision.js')} */ (
  await load('../../dist/klaviyo/revision.js')
);
const { systemClock } = /** @type {typeof import('../../src/clock.js')} */ (
  await load('../../dist/clock.js')
);

const lane = process.env.LANE === 'profiles' ? 'profiles' : 'events';
const rules = toRules('2026-07-15');
const draftMany = createDraftMany({
  ...{ clock: systemClock, newId: randomUUID },
  toE164: createToE164(undefined),
});
/** @type {(payloads: readonly Uint8Array[]) => void} */
const forward = createForward((payloads) => laneApis[lane].body.join(payloads));

/** @param {import('node:http').IncomingMessage} request */
async function take(request) {
  const isNdjson = request.headers['content-type'] === 'application/x-ndjson';
  const format = isNdjson ? 'ndjson' : 'json';
  const acceptedAt = Date.now();
  const drafted = await draftMany({
    ...{ lane, format, body: await buffer(request) },
    ...{ acceptedAt, rules, backfillBefore: acceptedAt - 86_400_000 },
  });
  if (!drafted.ok || drafted.built.rejected.length > 0) throw new Error('not all are valid');
  const payloads = drafted.built.drafts.map(({ payload }) => payload);
  await append(payloads);
  forward(payloads);
  return payloads.length;
}

const server = createServer((request, response) => {
  void take(request).then((accepted) => {
    response.writeHead(202, { 'content-type': 'application/json' });
    response.end(JSON.stringify({ accepted }));
  });
});
listen(server);
