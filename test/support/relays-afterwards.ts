import { lanes, type Lane } from '../../src/model/lane.js';
import type { RunningSandbox } from '../../src/sandbox/sandbox.js';
import { fetchLetters, toFreshEvent } from './crash-run.js';
import type { Fleet } from './fleet.js';
import type { Ledger } from './ledger.js';
import type { Letter } from './oracle.js';
import { fetchAnswer, postEvent } from './posters.js';
import type { Books } from './relay.js';
import { fetchText } from './restarted-relay.js';
import { pick, toInsertId, type Random } from './seeded-load.js';

export type RelaysAfterwards = {
  readonly seed: number;
  readonly random: Random;
  readonly fleet: Fleet;
  readonly ledger: Ledger;
  readonly sandbox: RunningSandbox;
};

const receiptCount = 40;

type Seen = {
  readonly letters: readonly Letter[];
  readonly receipts: readonly string[];
  readonly parts: readonly string[];
};

/** Looks at all of them, until nothing changes any more while they are looked at one after the other. */
const maxLooks = 50;

/** What each of the relays shows of what all of them did: the same, or it is a problem. */
export async function lookAtRelays(
  { random, fleet, ledger }: RelaysAfterwards,
  books: Readonly<Record<Lane, Books>>,
): Promise<{ readonly letters: readonly Letter[]; readonly problems: readonly string[] }> {
  const ids = [...ledger.acknowledgedEvents.values(), ...ledger.updateIds].filter(
    (id) => !ledger.mayBeLost(id),
  );
  const asked = Array.from({ length: receiptCount }, () => pick(random, ids));
  let seen = await lookAtEach(fleet, asked, books);
  // A relay that stood still in the middle of a request writes it down when it goes on.
  for (let looks = 1; looks < maxLooks && toDifferences(seen).length > 0; looks++) {
    seen = await lookAtEach(fleet, asked, books);
  }
  const [first] = seen;
  if (first === undefined) throw new Error('there is no relay to look at');
  return {
    letters: first.letters,
    problems: [...toDifferences(seen), ...first.receipts.flatMap(toProblem)],
  };
}

async function lookAtEach(
  fleet: Fleet,
  asked: readonly string[],
  books: Readonly<Record<Lane, Books>>,
): Promise<readonly Seen[]> {
  const seen: Seen[] = [];
  for (const { url } of fleet.members) {
    const letters = await fetchLetters(url);
    const receipts = await Promise.all(asked.map((id) => fetchReceipt(url, id)));
    const deliveries = await fetchText(`${url}/v1/deliveries?limit=200`);
    const shown = await untilShown(url, books);
    const parts = [JSON.stringify(letters), JSON.stringify(receipts), deliveries, shown];
    seen.push({ letters, receipts, parts });
  }
  return seen;
}

function toDifferences(seen: readonly Seen[]): readonly string[] {
  return ['dead letters', 'receipts', 'deliveries', 'books'].flatMap((what, part) => {
    const different = new Set(seen.map(({ parts }) => parts[part]));
    if (different.size === 1) return [];
    return [`${seen.length} relays show ${different.size} different ${what}`];
  });
}

/** An unknown one as `404`: the answer itself names the request, so that no two are the same. */
async function fetchReceipt(url: string, id: string): Promise<string> {
  const answer = await fetch(`${url}/v1/receipts/${id}`);
  return answer.status === 200 ? answer.text() : String(answer.status);
}

/** Everything is settled, and the log keeps all of a run. */
function toProblem(receipt: string): readonly string[] {
  return /"(delivered|dead_lettered)"/.test(receipt) ? [] : [`a receipt says ${receipt}`];
}

/** A relay has what others did a tenth of a second later, so it is asked again. */
async function untilShown(url: string, books: Readonly<Record<Lane, Books>>): Promise<string> {
  const must = toText(books);
  for (let tries = 0; ; tries++) {
    const is = toText(readStoreBooks(await fetchText(`${url}/metrics`)));
    if (is === must || tries === 500) return is;
  }
}

function readStoreBooks(text: string): Record<Lane, Books> {
  const read = (name: string): number =>
    Number(
      text
        .split('\n')
        .find((line) => line.startsWith(`${name} `))
        ?.slice(name.length),
    );
  const of = (lane: Lane): Books => ({
    accepted: read(`relay_store_accepted{lane="${lane}"}`),
    delivered: read(`relay_store_settled{lane="${lane}",outcome="delivered"}`),
    merged: read(`relay_store_settled{lane="${lane}",outcome="merged"}`),
    deadLettered: read(`relay_store_settled{lane="${lane}",outcome="dead_lettered"}`),
    buffered: read(`relay_buffer_envelopes{lane="${lane}"}`),
  });
  return { events: of('events'), profiles: of('profiles') };
}

const toText = (books: Readonly<Record<Lane, Books>>): string =>
  JSON.stringify(lanes.map((lane) => books[lane]));

/** One to each of them. */
export async function postFreshToEach(
  { seed, fleet, ledger, sandbox }: RelaysAfterwards,
  untilEmpty: () => Promise<readonly string[]>,
): Promise<readonly string[]> {
  const fresh: number[] = [];
  for (const { url } of fleet.members) {
    const number = toFreshEvent(seed, ledger);
    fresh.push(number);
    await postEvent({ seed, ledger, send: (path, body) => fetchAnswer(url + path, body) }, number);
  }
  const stuck = await untilEmpty();
  const there = new Set(sandbox.state().events.map(({ uniqueId }) => uniqueId));
  const missing = fresh.filter((number) => !there.has(toInsertId(number)));
  return [...stuck, ...missing.map(() => 'a fresh event does not flow any more')];
}
