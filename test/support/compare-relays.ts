import { lanes, mapLanes, type Lane } from '../../src/model/lane.js';
import type { RunningSandbox } from '../../src/sandbox/sandbox.js';
import { fetchDeadLetters, findFreshEvent } from './crash-run.js';
import type { Fleet } from './fleet.js';
import type { Ledger } from './ledger.js';
import type { DeadLetterView } from './oracle.js';
import { postBody, postEvent } from './posters.js';
import type { LaneCounts } from './relay.js';
import { fetchText } from './restarted-relay.js';
import { pick, toInsertId, type Random } from './seeded-load.js';

export type ComparedRelays = {
  readonly seed: number;
  readonly random: Random;
  readonly fleet: Fleet;
  readonly ledger: Ledger;
  readonly sandbox: RunningSandbox;
};

const receiptCount = 40;

type RelayView = {
  readonly deadLetters: readonly DeadLetterView[];
  readonly receipts: readonly string[];
  readonly parts: readonly string[];
};

/** Maximum number of times that all relays are read until they show the same. */
const maxReads = 50;

/** Reads dead letters, receipts, deliveries and counts from each relay; a difference between relays is a problem. */
export async function compareRelays(
  { random, fleet, ledger }: ComparedRelays,
  counts: Readonly<Record<Lane, LaneCounts>>,
): Promise<{
  readonly deadLetters: readonly DeadLetterView[];
  readonly problems: readonly string[];
}> {
  const ids = [...ledger.acknowledgedEvents.values(), ...ledger.updateIds].filter(
    (id) => !ledger.mayBeLost(id),
  );
  const requested = Array.from({ length: receiptCount }, () => pick(random, ids));
  let seen = await readEachRelay(fleet, requested, counts);
  // A relay that was stopped in the middle of a request writes its delivery when it continues.
  for (let count = 1; count < maxReads && findDifferences(seen).length > 0; count++) {
    seen = await readEachRelay(fleet, requested, counts);
  }
  const [first] = seen;
  if (first === undefined) throw new Error('the fleet has no running relay');
  return {
    deadLetters: first.deadLetters,
    problems: [...findDifferences(seen), ...first.receipts.flatMap(checkReceipt)],
  };
}

async function readEachRelay(
  fleet: Fleet,
  requested: readonly string[],
  counts: Readonly<Record<Lane, LaneCounts>>,
): Promise<readonly RelayView[]> {
  const seen: RelayView[] = [];
  for (const { url } of fleet.members) {
    const deadLetters = await fetchDeadLetters(url);
    const receipts = await Promise.all(requested.map((id) => fetchReceipt(url, id)));
    const deliveries = await fetchText(`${url}/v1/deliveries?limit=200`);
    const shown = await pollCounts(url, counts);
    const parts = [JSON.stringify(deadLetters), JSON.stringify(receipts), deliveries, shown];
    seen.push({ deadLetters, receipts, parts });
  }
  return seen;
}

function findDifferences(seen: readonly RelayView[]): readonly string[] {
  return ['dead letters', 'receipts', 'deliveries', 'counts'].flatMap((what, part) => {
    const different = new Set(seen.map(({ parts }) => parts[part]));
    if (different.size === 1) return [];
    return [`${seen.length} relays show ${different.size} different ${what}`];
  });
}

/** Returns the receipt, or the status alone: the body of a 404 contains a request id and is never the same twice. */
async function fetchReceipt(url: string, id: string): Promise<string> {
  const response = await fetch(`${url}/v1/receipts/${id}`);
  return response.status === 200 ? response.text() : String(response.status);
}

/** Returns a problem unless the receipt is final: everything is settled, and the log keeps a whole run. */
function checkReceipt(receipt: string): readonly string[] {
  return /"(delivered|dead_lettered)"/.test(receipt) ? [] : [`a receipt says ${receipt}`];
}

/** Reads the metrics until they show `counts`: a relay shows the work of others about 0.1 s later. */
async function pollCounts(
  url: string,
  counts: Readonly<Record<Lane, LaneCounts>>,
): Promise<string> {
  const must = formatCounts(counts);
  for (let tries = 0; ; tries++) {
    const is = formatCounts(readStoreCounts(await fetchText(`${url}/metrics`)));
    if (is === must || tries === 500) return is;
  }
}

function readStoreCounts(text: string): Record<Lane, LaneCounts> {
  const read = (name: string): number =>
    Number(
      text
        .split('\n')
        .find((line) => line.startsWith(`${name} `))
        ?.slice(name.length),
    );
  const of = (lane: Lane): LaneCounts => ({
    accepted: read(`relay_store_accepted{lane="${lane}"}`),
    delivered: read(`relay_store_settled{lane="${lane}",outcome="delivered"}`),
    merged: read(`relay_store_settled{lane="${lane}",outcome="merged"}`),
    deadLettered: read(`relay_store_settled{lane="${lane}",outcome="dead_lettered"}`),
    erased: read(`relay_store_settled{lane="${lane}",outcome="erased"}`),
    buffered: read(`relay_buffer_envelopes{lane="${lane}"}`),
  });
  return mapLanes(of);
}

const formatCounts = (counts: Readonly<Record<Lane, LaneCounts>>): string =>
  JSON.stringify(lanes.map((lane) => counts[lane]));

/** Posts one new event to each relay and returns a problem for each event that does not reach Klaviyo. */
export async function postFreshToEach(
  { seed, fleet, ledger, sandbox }: ComparedRelays,
  untilEmpty: () => Promise<readonly string[]>,
): Promise<readonly string[]> {
  const fresh: number[] = [];
  for (const { url } of fleet.members) {
    const number = findFreshEvent(seed, ledger);
    fresh.push(number);
    await postEvent({ seed, ledger, send: (path, body) => postBody(url + path, body) }, number);
  }
  const stuck = await untilEmpty();
  const there = new Set(sandbox.state().events.map(({ uniqueId }) => uniqueId));
  const missing = fresh.filter((number) => !there.has(toInsertId(number)));
  return [...stuck, ...missing.map(() => 'a new event did not reach Klaviyo')];
}
