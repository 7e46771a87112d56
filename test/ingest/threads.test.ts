import { afterEach, expect, it } from 'vitest';
import { createDraftMany, type ManyPosted } from '../../src/ingest/draft-many.js';
import { encodeDrafts, decodeDrafts } from '../../src/ingest/block-codec.js';
import { createManualClock, type ManualClock } from '../support/manual-clock.js';
import { createToE164 } from '../../src/ingest/phone.js';
import { startThreads, type Threads } from '../../src/ingest/threads.js';
import { anEvent, aProfile, receivedAt } from './fixture.js';
import { newestRules } from '../support/revisions.js';

/** Built before the tests run: a thread takes no TypeScript. */
const entry = new URL('../../dist/ingest/draft-thread.js', import.meta.url);
const defaultCountry = 'US';
const newId = (): string => 'made here';
const here = createDraftMany({
  clock: createManualClock(),
  newId,
  toE164: createToE164(defaultCountry),
});

let threads: Threads;
let clock: ManualClock;
let faults: unknown[] = [];
let givenUp = 0;
/** Called at each fault. */
let onNextFault: () => void = () => undefined;
afterEach(async () => {
  await threads.close();
  expect(clock.pending()).toBe(0);
  faults = [];
  givenUp = 0;
});

function start(count = 2, at = entry): void {
  clock = createManualClock();
  threads = startThreads({
    count,
    clock,
    defaultCountry,
    onThreadFailure(error) {
      faults.push(error);
      onNextFault();
    },
    onGivenUp: () => (givenUp += 1),
    entry: at,
  });
}

async function untilFaults(count: number): Promise<void> {
  while (faults.length < count) await new Promise<void>((resolve) => (onNextFault = resolve));
}

const toEntry = (code: string): URL =>
  new URL(
    `data:text/javascript,${encodeURIComponent(`import { parentPort } from 'node:worker_threads'; ${code}`)}`,
  );

const posted = (entries: readonly unknown[], overrides: Partial<ManyPosted> = {}): ManyPosted => ({
  lane: 'events',
  body: Buffer.from(JSON.stringify(entries)),
  format: 'json',
  acceptedAt: receivedAt,
  rules: newestRules,
  backfillBefore: -Infinity,
  ...overrides,
});

const manyEvents = (count: number): readonly object[] =>
  Array.from({ length: count }, (_, number) =>
    anEvent({ insert_id: `i-${number}`, distinct_id: `ü-${number}`, value: number / 100 }),
  );

it.each([
  ['events', posted(manyEvents(1000))],
  [
    'profiles',
    posted(
      Array.from({ length: 500 }, (_, number) => aProfile({ distinct_id: number })),
      { lane: 'profiles' },
    ),
  ],
  [
    'NDJSON',
    posted([], {
      format: 'ndjson',
      body: Buffer.from(
        manyEvents(500)
          .map((each) => JSON.stringify(each))
          .join('\n'),
      ),
    }),
  ],
  [
    'bad entries and warnings among good ones',
    posted([
      ...manyEvents(300),
      { event_name: 'no person' },
      anEvent({ insert_id: 'p', phone_number: '(202) 555-0123' }),
      anEvent({ insert_id: 'q', phone_number: 'none' }),
    ]),
  ],
  [
    'more than a chunk holds',
    posted([
      anEvent({ insert_id: 'big', properties: { pad: 'x'.repeat(90_000) } }),
      ...manyEvents(900),
    ]),
  ],
  [
    'backfilled events among others',
    posted(
      manyEvents(300).map((event, number) => ({
        ...event,
        event_time: number % 3 === 0 ? '2026-01-01T00:00:00Z' : undefined,
      })),
      { backfillBefore: receivedAt - 86_400_000 },
    ),
  ],
  ['no list', posted([], { body: Buffer.from(JSON.stringify({ pad: 'x'.repeat(20_000) })) })],
  ['no JSON', posted([], { body: Buffer.from('x'.repeat(20_000)) })],
])('a thread drafts %s as the main thread would', async (_what, request) => {
  start();
  const expected = await here(request);
  const there = await threads.draftMany(request, here);
  expect(toPlain(there)).toEqual(toPlain(expected));
  expect(faults).toEqual([]);
});

/** Bytes as text: a view of a chunk and a buffer of its own are alike. */
function toPlain(drafted: Awaited<ReturnType<typeof here>>): unknown {
  if (!drafted.ok) return drafted;
  const { drafts, ...others } = drafted.built;
  const texts = drafts.map(({ payload, ...each }) => ({
    ...each,
    payload: Buffer.from(payload).toString(),
  }));
  return { ...drafted, built: { ...others, drafts: texts } };
}

it('the memory of a body is transferred only if the body owns all of it', async () => {
  start(1);
  const made = posted(manyEvents(200));
  // Not a part of the memory that small buffers share.
  const own = { ...made, body: Buffer.allocUnsafeSlow(made.body.length) };
  made.body.copy(own.body);
  const whole = Buffer.concat([own.body, own.body]);
  const body = whole.subarray(own.body.length);
  await threads.draftMany({ ...own, body }, here);
  expect(whole).toEqual(Buffer.concat([own.body, own.body]));
  await threads.draftMany(own, here);
  expect(own.body).toHaveLength(0);
});

it('the main thread drafts small requests, and all requests if there are no threads', async () => {
  start();
  const nameless = { event_name: 'e', distinct_id: 'd' };
  const small = await threads.draftMany(posted([nameless]), here);
  expect(JSON.stringify(toPlain(small))).toContain('made here');
  const large = Array.from({ length: 1000 }, () => nameless);
  expect(JSON.stringify(toPlain(await threads.draftMany(posted(large), here)))).not.toContain(
    'made here',
  );
  await threads.close();
  start(0);
  expect(JSON.stringify(toPlain(await threads.draftMany(posted(large), here)))).toContain(
    'made here',
  );
});

it('each of many concurrent requests gets its own result', async () => {
  start(3);
  const requests = Array.from({ length: 20 }, (_, number) =>
    posted([...manyEvents(200), anEvent({ insert_id: `last-${number}` })]),
  );
  const responses = await Promise.all(requests.map((each) => threads.draftMany(each, here)));
  responses.forEach((each, number) =>
    expect(JSON.stringify(toPlain(each))).toContain(`last-${number}`),
  );
});

it('a thread that ends fails its pending requests and is replaced', async () => {
  // Ends at its first job, and drafts nothing.
  const dying = toEntry(
    "parentPort.on('message', () => { throw new Error('out of order'); }); parentPort.postMessage('ready');",
  );
  start(1, dying);
  const request = () => posted(manyEvents(200));
  await expect(threads.draftMany(request(), here)).rejects.toThrow('out of order');
  expect(faults).toEqual([new Error('out of order')]);
  await expect(threads.draftMany(request(), here)).rejects.toThrow('out of order');
  expect(faults).toHaveLength(2);
});

it('threads that fail at every start are given up after growing delays, while the main thread drafts', async () => {
  start(2, toEntry("throw new Error('no memory');"));
  const request = () => posted(manyEvents(200));
  const expected = toPlain(await here(request()));
  const draft = async () => toPlain(await threads.draftMany(request(), here));
  expect(await draft()).toEqual(expected);
  // The first restart is at once.
  await untilFaults(4);
  for (const [delayMs, count] of [
    [100, 6],
    [200, 8],
    [400, 10],
  ] as const) {
    expect(clock.pending()).toBe(2);
    expect(await draft()).toEqual(expected);
    await clock.advance(delayMs - 1);
    expect(faults).toHaveLength(count - 2);
    expect(givenUp).toBe(0);
    await clock.advance(1);
    expect(await draft()).toEqual(expected);
    await untilFaults(count);
  }
  expect(givenUp).toBe(1);
  expect(clock.pending()).toBe(0);
  await clock.advance(3_600_000);
  expect(await draft()).toEqual(expected);
  expect(faults).toEqual(Array.from({ length: 10 }, () => new Error('no memory')));
});

it('a thread that does not become ready is ended, and the main thread drafts its requests', async () => {
  start(1, toEntry('for (;;);'));
  const request = posted(manyEvents(200));
  const expected = toPlain(await here(request));
  const drafted = threads.draftMany(request, here);
  await clock.advance(30_000);
  expect(toPlain(await drafted)).toEqual(expected);
  expect(faults).toEqual([new Error('a drafting thread ended')]);
});

it('a thread that fails at work is replaced after growing delays and never given up', async () => {
  start(
    1,
    toEntry(
      "parentPort.on('message', () => { throw new Error('out of order'); }); parentPort.postMessage('ready');",
    ),
  );
  const request = () => posted(manyEvents(200));
  for (let failures = 1; failures <= 8; failures++) {
    await expect(threads.draftMany(request(), here)).rejects.toThrow('out of order');
    await clock.advance(100 * 2 ** (failures - 2));
  }
  expect(faults).toHaveLength(8);
  expect(givenUp).toBe(0);
});

it('encoded drafts are decoded in order, in chunks of at most 256 KB unless one draft is larger', () => {
  start(0);
  const drafts = [1, 100_000, 100_000, 100_000, 400_000, 1].map((length, number) => ({
    lane: number === 5 ? ('update_profile' as const) : ('profiles' as const),
    keys: number % 2 === 0 ? [`e${number}`, 'x'] : [],
    acceptedAt: receivedAt,
    payload: Buffer.alloc(length, number),
  }));
  const chunks = encodeDrafts(drafts);
  expect(chunks.map(({ length }) => length < 262_144)).toEqual([true, true, false, true]);
  expect(chunks.every(({ buffer, length }) => buffer.byteLength === length)).toBe(true);
  expect(decodeDrafts(chunks, { acceptedAt: receivedAt })).toEqual(drafts);
  expect(encodeDrafts([])).toEqual([]);
});
