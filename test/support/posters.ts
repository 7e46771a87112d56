import { stringifyJson } from '../../src/json/json.js';
import { createSeededRandom } from '../../src/sandbox/faults.js';
import type { Ledger } from './ledger.js';
import { below, makeEvent, makeUpdate, personCount, pick, type Random } from './seeded-load.js';
import { firstLeaver, makeAction, subscriberCount, toLastStep } from './subscribers.js';

export type PostResponse = { readonly status: number; readonly text: string };

/** Sends one request. Resolves with null if the response is lost. */
export type Send = (path: string, body: string) => Promise<PostResponse | null>;

export type PostersOptions = {
  readonly seed: number;
  readonly send: Send;
  readonly ledger: Ledger;
  /** Called for each 202. */
  readonly onAcknowledged: () => void;
  /** Once it is aborted, posters start no new request. */
  readonly stopping: AbortSignal;
};

type Poster = PostersOptions & {
  readonly random: Random;
  readonly nextEvent: () => number;
  readonly nextLeaver: () => number;
};

const maxBatch = 20;
const updaterCount = 4;
const actorCount = 3;
const maxActions = 8;
const leaverShare = 0.4;
const repeatShare = 0.05;

/**
 * Runs several callers at once, each of which repeats a request until it gets a response, as real callers
 * do. Resolves when all of them have ended; rejects for a response that is not 202.
 */
export async function runPosters(options: PostersOptions): Promise<void> {
  let events = 0;
  let leavers = 0;
  const nextEvent = (): number => events++;
  const nextLeaver = (): number => leavers++;
  const createPoster = (number: number): Poster => {
    return {
      ...options,
      random: createSeededRandom(options.seed + number * 31),
      nextEvent,
      nextLeaver,
    };
  };
  await Promise.all([
    ...[1, 2, 3].map((number) => untilStopped(createPoster(number), postOneEvent)),
    ...[4, 5].map((number) => untilStopped(createPoster(number), postEvents)),
    ...Array.from({ length: updaterCount }, (_, share) => {
      const act = share === 0 ? postOneUpdate : postUpdates;
      return untilStopped(createPoster(6 + share), (poster) => act(poster, share));
    }),
    ...Array.from({ length: actorCount }, (_, share) =>
      untilStopped(createPoster(10 + share), (poster) => postActions(poster, share)),
    ),
  ]);
}

async function untilStopped(poster: Poster, act: (poster: Poster) => Promise<void>): Promise<void> {
  while (!poster.stopping.aborted) {
    await act(poster);
    poster.onAcknowledged();
  }
}

/** Posts a new event, or sometimes one that is already acknowledged. */
async function postOneEvent(poster: Poster): Promise<void> {
  const { ledger, random, nextEvent } = poster;
  const known = random() < repeatShare ? ledger.pickAcknowledged(random) : null;
  await postEvent(poster, known ?? nextEvent());
}

export async function postEvent(
  poster: Pick<Poster, 'seed' | 'ledger' | 'send'>,
  number: number,
): Promise<void> {
  poster.ledger.recordSentEvents([number]);
  const response = await post(poster, '/v1/events', makeEvent(poster.seed, number));
  poster.ledger.recordAcknowledgedEvents([number], [response.id]);
}

async function postEvents(poster: Poster): Promise<void> {
  const { seed, ledger, random, nextEvent } = poster;
  const numbers = Array.from({ length: 1 + below(random, maxBatch) }, nextEvent);
  ledger.recordSentEvents(numbers);
  const events = numbers.map((number) => makeEvent(seed, number));
  const { ids } = await post(poster, '/v1/events/batch?ids=true', events);
  ledger.recordAcknowledgedEvents(numbers, ids);
}

async function postOneUpdate(poster: Poster, share: number): Promise<void> {
  const { seed, ledger } = poster;
  const person = pickPerson(poster, share);
  const step = ledger.recordSentUpdate(person);
  const { id } = await post(poster, '/v1/profiles', makeUpdate(seed, person, step));
  ledger.recordAcknowledgedUpdates([id]);
}

/** A request can contain two updates of one person. The order of the updates matters. */
async function postUpdates(poster: Poster, share: number): Promise<void> {
  const { seed, ledger, random } = poster;
  const updates = Array.from({ length: 1 + below(random, maxBatch) }, () => {
    const person = pickPerson(poster, share);
    return makeUpdate(seed, person, ledger.recordSentUpdate(person));
  });
  const body = pick(random, [updates, { profiles: updates }]);
  const { ids } = await post(poster, '/v1/profiles/batch?ids=true', body);
  ledger.recordAcknowledgedUpdates(ids);
}

/**
 * Several actions of one subscriber in a row, so that lanes have entries of one person at the same time. Each
 * actor has its own subscribers, so the order of their actions is known.
 */
async function postActions(poster: Poster, share: number): Promise<void> {
  const { seed, ledger, random } = poster;
  const ownCount = Math.ceil((subscriberCount - share) / actorCount);
  const isLeaver = random() < leaverShare;
  const subscriber = isLeaver
    ? firstLeaver + poster.nextLeaver()
    : below(random, ownCount) * actorCount + share;
  const count = isLeaver ? toLastStep(seed, subscriber) + 1 : 1 + below(random, maxActions);
  for (let left = count; left > 0; left--) {
    const { path, body } = makeAction(seed, subscriber, ledger.recordSentAction(subscriber));
    ledger.recordAcknowledgedAction((await post(poster, path, body)).id);
  }
}

/** Each updater has its own persons, so the order of their updates is known. */
function pickPerson({ random }: Poster, share: number): number {
  return below(random, personCount / updaterCount) * updaterCount + share;
}

type AcceptedIds = { readonly id: string; readonly ids: readonly string[] };

/** Repeats the request until there is a response. */
async function post(
  { send, ledger }: Pick<Poster, 'send' | 'ledger'>,
  path: string,
  content: unknown,
): Promise<AcceptedIds> {
  const body = stringifyJson(content);
  for (;;) {
    ledger.posts++;
    const response = await send(path, body);
    if (response === null) {
      ledger.lostResponses++;
      continue;
    }
    const {
      rejected = [],
      id = '',
      ids = [],
    } = JSON.parse(response.text) as Partial<AcceptedIds> & {
      readonly rejected?: readonly unknown[];
    };
    if (response.status === 202 && rejected.length === 0) return { id, ids };
    throw new Error(`${path} answered ${response.status}: ${response.text}`);
  }
}

/** Sends to one relay whose URL is read before each request. */
export function createSend(url: () => Promise<string>): Send {
  return async (path, body) => postBody((await url()) + path, body);
}

export async function postBody(
  url: string,
  body: string,
  signal: AbortSignal | null = null,
): Promise<PostResponse | null> {
  const headers = { 'content-type': 'application/json' };
  try {
    const response = await fetch(url, { method: 'POST', headers, body, signal });
    return { status: response.status, text: await response.text() };
  } catch {
    return null;
  }
}
