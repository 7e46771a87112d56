import { existsSync, readFileSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, it, onTestFinished } from 'vitest';
import type { JsonObject } from '../../src/json/json.js';
import { checkImport, runImport, type ImportOptions } from '../../src/import/importer.js';
import { createProgressFile, noCounts, type Progress } from '../../src/import/progress.js';
import { startRelay, type RelayUnderTest } from '../support/relay.js';
import {
  aFolder,
  aFreePort,
  aProblem,
  aReadTime,
  quiet,
  someDeps,
  someMapping,
  someOptions,
  startFakeRelay,
} from './fixture.js';
import { acceptAll, whileTimePasses, type Reply } from './fixture.js';

const anEvent = (number: number, overrides: object = {}) => ({
  event_name: 'Viewed',
  distinct_id: `c${number}`,
  properties: { number },
  ...overrides,
});

const toLines = (entries: readonly unknown[]): string =>
  entries.map((entry) => `${typeof entry === 'string' ? entry : JSON.stringify(entry)}\n`).join('');

function aFile(content: string | Buffer, name = 'history.ndjson'): string {
  const path = join(aFolder(), name);
  writeFileSync(path, content);
  return path;
}

const readRejected = (input: string) =>
  readFileSync(`${input}.rejected.ndjson`, 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as { line: number; errors: unknown[]; entry: unknown });

const progressOf = (input: string) =>
  JSON.parse(readFileSync(`${input}.import.json`, 'utf8')) as Progress;

const events = (count: number) => Array.from({ length: count }, (_, number) => anEvent(number));

async function aRelay(env: Record<string, string> = {}): Promise<RelayUnderTest> {
  const relay = await startRelay({ env });
  onTestFinished(() => relay.stop());
  return relay;
}

/** Waits until the relay has delivered everything and returns the state of the sandbox. */
async function untilDelivered(relay: RelayUnderTest) {
  await relay.untilSettled();
  return relay.sandbox.state();
}

describe('an import into a relay', () => {
  it('posts every event once, in batches, and writes the rejected ones to a file', async () => {
    const relay = await aRelay();
    const bad = [anEvent(8, { value: 'many' }), 'no JSON', '{"distinct_id":"c9"}'];
    const input = aFile(toLines([...events(5), '', ...bad, anEvent(10)]));
    const options = someOptions({ input, url: relay.app.url, maxCount: 4 });
    const result = await runImport(options, someDeps(input));
    expect(result).toMatchObject({ stopped: null, line: 10 });
    expect(result.counts).toEqual({ ...noCounts, read: 9, accepted: 6, refused: 3 });
    expect(readRejected(input)).toEqual([
      {
        line: 7,
        errors: [{ pointer: '/value', detail: 'must be a number, not a string or anything else' }],
        entry: bad[0],
      },
      { line: 8, errors: [expect.objectContaining({ pointer: '' })], entry: 'no JSON' },
      {
        line: 9,
        errors: [{ pointer: '/event_name', detail: 'is required' }],
        entry: { distinct_id: 'c9' },
      },
    ]);
    const { events: recorded } = await untilDelivered(relay);
    expect(recorded.map(({ properties }) => properties.number).sort()).toEqual([0, 1, 10, 2, 3, 4]);
    expect(statSync(`${input}.rejected.ndjson`).mode & 0o777).toBe(0o600);
  });

  it('distinguishes a batch of invalid entries from an invalid request', async () => {
    const relay = await aRelay();
    const input = aFile(toLines(['1', '2', '3', anEvent(1)]));
    const options = someOptions({ input, url: relay.app.url, maxCount: 3 });
    const { counts } = await runImport(options, someDeps(input));
    expect(counts).toMatchObject({ read: 4, accepted: 1, refused: 3 });
    expect(readRejected(input).map(({ line }) => line)).toEqual([1, 2, 3]);
  });

  it('accepts events of visitors by their anonymous id and rejects such profiles', async () => {
    const relay = await aRelay();
    const csv = aFile('event_name,anonymous_id\nViewed,b-1\nViewed,007\n', 'visits.csv');
    const { url } = relay.app;
    const { counts } = await runImport(someOptions({ input: csv, url }), someDeps(csv));
    expect(counts).toMatchObject({ accepted: 2, refused: 0 });
    const profiles = aFile(
      'email,anonymous_id\nada@klaviyo-demo.com,b-1\nbo@klaviyo-demo.com,\n',
      'people.csv',
    );
    const options = someOptions({ input: profiles, url, lane: 'profiles' });
    const result = await runImport(options, someDeps(profiles));
    expect(result.counts).toMatchObject({ accepted: 1, refused: 1 });
    expect(readRejected(profiles)).toMatchObject([
      { line: 2, errors: [{ pointer: '/anonymous_id' }] },
    ]);
    const { events: recorded } = await untilDelivered(relay);
    expect(recorded.map(({ who }) => who).sort()).toEqual(['007', 'b-1']);
  });

  it('accepts CSV of events with the difficulties of CSV', async () => {
    const relay = await aRelay();
    const input = aFile(
      '\ufeffevent_name,email,value,Note,Count\r\nPlaced Order,ada@klaviyo-demo.com,12.50,"say ""hi""\r\nthere",3\r\nPlaced Order,ada@klaviyo-demo.com\r\nPlaced Order,ada,1,,\r\n',
      'orders.csv',
    );
    const { counts } = await runImport(someOptions({ input, url: relay.app.url }), someDeps(input));
    expect(counts).toMatchObject({ read: 3, accepted: 1, refused: 2 });
    expect(readRejected(input)).toMatchObject([
      { line: 4, errors: [{ detail: 'has 2 cells, but the header has 5' }] },
      { line: 5, errors: [{ pointer: '/email' }], entry: { email: 'ada', value: 1 } },
    ]);
    const { events: recorded } = await untilDelivered(relay);
    expect(recorded).toMatchObject([
      { value: 12.5, properties: { $value: 12.5, Note: 'say "hi"\r\nthere', Count: 3 } },
    ]);
  });

  it('accepts profiles and counts those accepted with a part left out', async () => {
    const relay = await aRelay();
    const input = aFile(
      'email,phone_number,location.city,plan\nada@klaviyo-demo.com,12,Boston,gold\n',
      'people.csv',
    );
    const options = someOptions({ input, url: relay.app.url, lane: 'profiles' });
    const { counts } = await runImport(options, someDeps(input));
    expect(counts).toMatchObject({ read: 1, accepted: 1, warned: 1 });
    const { profiles } = await untilDelivered(relay);
    expect(JSON.stringify(profiles)).toContain('"plan":"gold"');
    expect(JSON.stringify(profiles)).toContain('"city":"Boston"');
  });

  it('imports the file of entries that another import had rejected', async () => {
    const relay = await aRelay();
    const input = aFile(toLines([anEvent(1, { value: 'x' })]));
    await runImport(someOptions({ input, url: relay.app.url }), someDeps(input));
    const [rejected] = readRejected(input);
    const corrected = aFile(toLines([{ ...(rejected?.entry as object), value: 1 }]));
    const again = someOptions({ input: corrected, url: relay.app.url });
    expect((await runImport(again, someDeps(corrected))).counts).toMatchObject({ accepted: 1 });
  });

  it('sends its key and stops if the relay rejects it', async () => {
    const relay = await aRelay({ RELAY_API_KEYS: 'ingest-key-1' });
    const input = aFile(toLines(events(1)));
    const options = someOptions({ input, url: relay.app.url });
    const wrong = await runImport({ ...options, key: 'another-key' }, someDeps(input));
    expect(wrong.stopped).toMatch(/401: this key is not known .*RELAY_API_KEY/);
    const right = await runImport({ ...options, key: 'ingest-key-1' }, someDeps(input));
    expect(right).toMatchObject({ stopped: null, counts: { accepted: 1 } });
  });

  it('halves a batch that is too large and rejects an entry that is too large alone', async () => {
    const relay = await aRelay({ BODY_LIMIT_BYTES: '2000' });
    const large = anEvent(99, { properties: { text: 'x'.repeat(2500) } });
    const input = aFile(toLines([...events(40), large, ...events(40).map(({ ...e }) => e)]));
    const { counts, stopped } = await runImport(
      someOptions({ input, url: relay.app.url }),
      someDeps(input),
    );
    expect(stopped).toBeNull();
    expect(counts).toMatchObject({ read: 81, accepted: 80, refused: 1 });
    expect(readRejected(input)).toMatchObject([
      { line: 41, errors: [{ detail: expect.stringContaining('BODY_LIMIT_BYTES') as string }] },
    ]);
  });

  it('does nothing for an empty file', async () => {
    const input = aFile('\n');
    const { counts, stopped } = await runImport(
      someOptions({ input, url: 'http://127.0.0.1:9' }),
      someDeps(input),
    );
    expect([stopped, counts.read]).toEqual([null, 0]);
    expect(existsSync(`${input}.rejected.ndjson`)).toBe(false);
  });
});

describe('the events of an import', () => {
  it.each([
    ['all', '/v1/events/batch?backfill=true'],
    ['age', '/v1/events/batch'],
    ['none', '/v1/events/batch?backfill=false'],
  ] as const)('with backfill %s are posted to %s', async (backfill, path) => {
    const input = aFile(toLines(events(1)));
    const { url, received } = await startFakeRelay(acceptAll);
    await runImport(someOptions({ input, url, backfill }), someDeps(input));
    expect(received.map((each) => each.path)).toEqual([path]);
  });

  it('can be backfilled, while profiles are posted without it', async () => {
    const input = aFile('{"email":"ada@klaviyo-demo.com"}\n');
    const { url, received } = await startFakeRelay(acceptAll);
    await runImport(someOptions({ input, url, lane: 'profiles' }), someDeps(input));
    expect(received.map(({ path }) => path)).toEqual(['/v1/profiles/batch']);
  });
});

describe('the lane of an input', () => {
  const lanesOf = async (text: string, overrides: Partial<ImportOptions>) => {
    const input = aFile(text, overrides.format === 'csv' ? 'x.csv' : 'x.ndjson');
    const { url, received } = await startFakeRelay(acceptAll);
    await runImport(someOptions({ input, url, lane: null, ...overrides }), someDeps(input));
    return received.map(({ path }) => path);
  };

  it('is detected from event_name', async () => {
    expect(await lanesOf('{"event_name":"e"}\n', {})).toEqual(['/v1/events/batch?backfill=true']);
    expect(await lanesOf('email,event_name\na,b\n', { format: 'csv' })).toEqual([
      '/v1/events/batch?backfill=true',
    ]);
  });

  it('must be given otherwise', async () => {
    const words = '--type events or --type profiles';
    await expect(lanesOf('{"email":"e"}\n', {})).rejects.toThrow(words);
    await expect(lanesOf('no JSON\n', {})).rejects.toThrow(words);
    await expect(lanesOf('email\na\n', { format: 'csv' })).rejects.toThrow(words);
  });

  it.each<[string, string, Partial<ImportOptions>, string]>([
    ['a JSON array', '[{"event_name":"e"}]', { lane: 'events' }, 'a JSON array'],
    ['CSV without a header', '', { lane: 'events', format: 'csv' }, 'CSV needs a header'],
    [
      'a broken header',
      '"a"b\n',
      { lane: 'events', format: 'csv' },
      'the header has something after',
    ],
  ])('is rejected if it is %s', async (_, text, overrides, words) => {
    await expect(lanesOf(text, overrides)).rejects.toThrow(words);
  });

  it('is reported if it does not exist', async () => {
    const input = join(aFolder(), 'nowhere.ndjson');
    const options = someOptions({ input, url: 'http://127.0.0.1:9' });
    await expect(runImport(options, someDeps(input))).rejects.toThrow(`${input} does not exist`);
  });
});

describe('an input file from practice', () => {
  const csv = (text: string, overrides: Partial<ImportOptions> = {}, name = 'x.csv') => {
    const input = aFile(text, name);
    return { input, ...overrides, format: 'csv' as const };
  };

  it('is accepted with semicolons, a separator line, empty lines and columns, and headers in any case', async () => {
    const relay = await aRelay();
    const given = csv(
      '\ufeffsep=;\r\nE-Mail;Event Name;Event Time;Value;;\r\nada@klaviyo-demo.com;Placed Order;2025-10-07 09:50:26 +0200;12.50;;\r\n;;;;;\r\n\r\nbo@klaviyo-demo.com;Placed Order;2025-10-07;1\r\n;;;;;\r\n',
    );
    const options = someOptions({ ...given, url: relay.app.url, lane: null });
    const result = await runImport(options, someDeps(given.input));
    expect(result.counts).toMatchObject({ read: 2, accepted: 1, refused: 1 });
    expect(readRejected(given.input)).toMatchObject([
      {
        line: 6,
        errors: [
          { pointer: '/event_time', detail: expect.stringContaining('--timezone') as string },
        ],
      },
    ]);
    const { events: recorded } = await untilDelivered(relay);
    expect(recorded).toMatchObject([{ metric: 'Placed Order', value: 12.5 }]);
    expect(progressOf(given.input)).toMatchObject({ delimiter: ';', isFinished: true });
  });

  it('is accepted with options, and resumes only with the same ones', async () => {
    const given = csv('Buyer,At\nada@klaviyo-demo.com,03/04/2026 09:05\n');
    const mapping = someMapping({
      columns: [
        { column: 'Buyer', field: 'email' },
        { column: 'At', field: 'event_time' },
      ],
      constants: [{ field: 'event_name', text: 'Placed Order' }],
      readTime: aReadTime({ format: 'DD/MM/YYYY HH:mm', timezone: 'Europe/Berlin' }),
      hasTimeOptions: true,
      flags: ['--map Buyer=email', '--set event_name=Placed Order'],
    });
    const { url, received } = await startFakeRelay(acceptAll);
    const options = someOptions({ ...given, url, lane: null, mapping });
    const { counts } = await runImport(options, someDeps(given.input));
    expect(counts).toMatchObject({ accepted: 1 });
    expect(JSON.parse(received[0]?.lines[0] ?? '')).toEqual({
      event_name: 'Placed Order',
      email: 'ada@klaviyo-demo.com',
      event_time: '2026-04-03T07:05:00.000Z',
      insert_id: expect.stringMatching(/^import-/) as string,
    });
    const others = { ...options, mapping: { ...mapping, flags: ['--map Buyer=email'] } };
    await expect(runImport(others, someDeps(given.input))).rejects.toThrow(
      'began with --map Buyer=email --set event_name=Placed Order: use the same options',
    );
    expect((await runImport(options, someDeps(given.input))).wasFinished).toBe(true);
  });

  it('is accepted as NDJSON with constants and epoch times', async () => {
    const lines = [
      { distinct_id: 'c1', event_time: 1759823426 },
      { distinct_id: 'c2', event_time: '1759823426', properties: { a: 1 } },
      { distinct_id: 'c3', event_name: 'Viewed' },
      { distinct_id: 'c4', event_time: 'yesterday' },
      'no JSON',
    ];
    const input = aFile(toLines(lines));
    const mapping = someMapping({
      constants: [
        { field: 'event_name', text: 'Placed Order' },
        { field: 'properties.source', text: 'till' },
      ],
      readTime: aReadTime({ format: 'epoch' }),
      hasTimeOptions: true,
    });
    const relay = await aRelay();
    const options = someOptions({ input, url: relay.app.url, lane: null, mapping });
    const { counts } = await runImport(options, someDeps(input));
    expect(counts).toMatchObject({ read: 5, accepted: 2, refused: 3 });
    expect(readRejected(input)).toMatchObject([
      {
        line: 3,
        errors: [{ pointer: '/event_name', detail: 'is also set by --set event_name' }],
        entry: lines[2],
      },
      {
        line: 4,
        errors: [{ pointer: '/event_time', detail: 'is not an epoch number' }],
        entry: lines[3],
      },
      { line: 5, entry: 'no JSON' },
    ]);
    const { events: recorded } = await untilDelivered(relay);
    expect(
      recorded.map(({ metric, properties }) => [metric, properties.source, properties.a]),
    ).toEqual(
      expect.arrayContaining([
        ['Placed Order', 'till', undefined],
        ['Placed Order', 'till', 1],
      ]),
    );
  });

  it.each<[string, string, Partial<ImportOptions>, string]>([
    [
      'times that may begin with the day or the month',
      'email,event_name,event_time\na@b.com,e,\na@b.com,e,03/04/2026\na@b.com,e,05/04/2026\n',
      {},
      'event_time, the column event_time, of line 3 may begin with the day or the month',
    ],
    [
      'times of an epoch',
      'email,event_name,Event Time\na@b.com,e,1759823426\n',
      {},
      'event_time, the column Event Time, of line 2 is a number: use --time-format epoch',
    ],
    [
      'a time format and no time',
      'email,event_name,When\na@b.com,e,1759823426\n',
      { mapping: someMapping({ hasTimeOptions: true }) },
      'which no column has: name its column with --map "COLUMN=event_time"',
    ],
    [
      'a time format of profiles',
      'email,When\na@b.com,1759823426\n',
      { lane: 'profiles', mapping: someMapping({ hasTimeOptions: true }) },
      'which profiles do not have',
    ],
    [
      'two delimiters',
      'email;Amount, net\na@b.com;1\n',
      { lane: 'profiles' },
      'specify one of them with --delimiter',
    ],
  ])('is rejected before anything is posted if it has %s', async (_, text, overrides, words) => {
    const { url, received } = await startFakeRelay(acceptAll);
    const options = someOptions({ ...csv(text), url, ...overrides });
    await expect(runImport(options, someDeps(options.input))).rejects.toThrow(words);
    expect(received).toEqual([]);
    expect(existsSync(`${options.input}.import.json`)).toBe(false);
    expect(existsSync(`${options.input}.rejected.ndjson`)).toBe(false);
  });

  it('is accepted if some of its first times can be read, and the other rows are rejected', async () => {
    const { url } = await startFakeRelay(acceptAll);
    const given = csv(
      'email,event_name,event_time\na@b.com,e,03/04/2026\na@b.com,e,2026-04-03T00:00:00Z\n',
    );
    const { counts } = await runImport(someOptions({ ...given, url }), someDeps(given.input));
    expect(counts).toMatchObject({ accepted: 1, refused: 1 });
  });

  it('as NDJSON has no columns to map', async () => {
    const input = aFile(toLines(events(1)));
    const mapping = someMapping({ columns: [{ column: 'a', field: 'email' }] });
    const options = someOptions({ input, url: 'http://127.0.0.1:9', mapping });
    await expect(runImport(options, someDeps(input))).rejects.toThrow(
      '--map and --omit are for the columns of CSV',
    );
  });

  it('resumes in the middle of a compressed file and reports the position in that file', async () => {
    const input = aFile(gzipSync(toLines(events(2000))), 'x.ndjson.gz');
    const { size } = statSync(input);
    const stop = new AbortController();
    const { url, received } = await startFakeRelay((one) => {
      stop.abort();
      return acceptAll(one);
    });
    const options = someOptions({ input, url });
    const first = await runImport(options, someDeps(input, { signal: stop.signal }));
    expect(first).toMatchObject({ canResume: true, line: 500 });
    expect(progressOf(input).offset).toBeGreaterThan(size);
    const positions: number[] = [];
    const report = {
      ...quiet,
      begun: (at: { position: number }) => void positions.push(at.position),
      moved: (at: { position: number }) => void positions.push(at.position),
    };
    const second = await runImport(options, someDeps(input, { report }));
    expect(second).toMatchObject({ stopped: null, counts: { read: 2000, accepted: 2000 } });
    const posted = received.flatMap(({ lines }) => lines);
    expect(new Set(posted).size).toBe(2000);
    expect(Math.max(...positions)).toBe(size);
    expect(Math.min(...positions)).toBeGreaterThan(0);
  });

  it('keeps what was accepted of a truncated compressed file and reports the truncation', async () => {
    const text = toLines(
      events(20_000).map((event) => ({
        ...event,
        noise: Math.sin(Number(event.distinct_id.slice(1))),
      })),
    );
    const bytes = gzipSync(text);
    const input = aFile(bytes.subarray(0, bytes.length - 1000), 'x.ndjson.gz');
    const { url, received } = await startFakeRelay(acceptAll);
    const options = someOptions({ input, url });
    const cut = await runImport(options, someDeps(input));
    expect(cut).toMatchObject({
      stopped: 'the gzip file is truncated',
      isDamaged: true,
      canResume: false,
    });
    expect(cut.counts.read).toBeGreaterThan(10_000);
    expect(cut.counts.read % 500).toBe(0);
    writeFileSync(input, bytes);
    await expect(runImport(options, someDeps(input))).rejects.toThrow('has changed');
    const positions: number[] = [];
    const moved = (at: { position: number }) => void positions.push(at.position);
    const deps = someDeps(input, { report: { ...quiet, moved } });
    const whole = await runImport({ ...options, restart: true }, deps);
    expect(positions[0]).toBeLessThan(bytes.length / 2);
    expect(whole).toMatchObject({ stopped: null, counts: { read: 20_000 } });
    expect(new Set(received.flatMap(({ lines }) => lines)).size).toBe(20_000);
  });

  it('as a small truncated compressed file is not posted in part', async () => {
    const bytes = gzipSync('event_name,email\ne,a@b.com\n');
    const input = aFile(bytes.subarray(0, -4), 'x.csv.gz');
    const { url, received } = await startFakeRelay(acceptAll);
    const options = someOptions({ input, url, format: 'csv' });
    await expect(runImport(options, someDeps(input))).rejects.toThrow('is truncated');
    expect(received).toEqual([]);
  });

  it('is checked without posting or writing anything', async () => {
    const good = csv('event_name,email\ne,a@b.com\n');
    const { url, received } = await startFakeRelay(acceptAll);
    const options = someOptions({ ...good, url });
    await checkImport(options, someDeps(good.input));
    expect(existsSync(`${good.input}.import.json`)).toBe(false);
    writeFileSync(options.rejectedPath, 'precious');
    await expect(checkImport(options, someDeps(good.input))).rejects.toThrow('already exists');
    await checkImport({ ...options, restart: true }, someDeps(good.input));
    expect(readFileSync(options.rejectedPath, 'utf8')).toBe('precious');
    const bad = csv('event_name,mail\ne,a@b.com\n');
    await expect(checkImport(someOptions({ ...bad, url }), someDeps(bad.input))).rejects.toThrow(
      'the header has no email',
    );
    expect(received).toEqual([]);
  });
});

describe('an unavailable relay', () => {
  const acceptedOne: Reply = { status: 202, body: { accepted: 1, duplicates: 0, rejected: [] } };

  async function importInto(replies: readonly Reply[]) {
    const input = aFile(toLines(events(1)));
    const deps = someDeps(input);
    const at: number[] = [];
    const { url, received } = await startFakeRelay((_, index) => {
      at.push(deps.clock.monotonic());
      return replies[index] ?? acceptedOne;
    });
    const waits: string[] = [];
    const report = { ...quiet, waiting: (detail: string) => void waits.push(detail) };
    const options = someOptions({ input, url });
    const result = await whileTimePasses(deps.clock, runImport(options, { ...deps, report }));
    return { result, received, at, waits, input, options, deps };
  }

  it.each([429, 503])('is tried again after the Retry-After of each %i', async (status) => {
    const full: Reply = {
      status,
      headers: { 'retry-after': '7' },
      body: aProblem('unavailable', 'the buffer is full'),
    };
    const { result, at, waits } = await importInto(Array.from({ length: 20 }, () => full));
    expect(result).toMatchObject({ stopped: null, counts: { accepted: 1 } });
    expect(at).toHaveLength(21);
    const gaps = at.slice(1).map((time, index) => time - (at[index] ?? 0));
    expect(Math.min(...gaps)).toBeGreaterThanOrEqual(7000);
    expect(waits[0]).toBe(`${status}: the buffer is full`);
  });

  it.each<[string, Reply, string]>([
    ['resets connections', 'cut', 'ECONNRESET|other side closed|UND_ERR_SOCKET'],
    ['answers 500', { status: 500 }, '500'],
    ['answers 503 without Retry-After', { status: 503 }, '503'],
    ['does not answer', 'silence', 'no response within 90 s'],
  ])(
    'that %s is tried again with the same entries, at growing intervals',
    async (_, reply, why) => {
      const { result, received, waits } = await importInto([reply, reply]);
      expect(result).toMatchObject({ stopped: null, counts: { accepted: 1 } });
      expect(received).toHaveLength(3);
      expect(new Set(received.map(({ lines }) => lines.join())).size).toBe(1);
      expect(waits[1]).toMatch(new RegExp(why));
    },
  );

  it('stops the import if it does not come back, and the same command resumes', async () => {
    const first = await importInto(Array.from({ length: 12 }, () => 'cut' as const));
    expect(first.result.stopped).toMatch(/^12 attempts in a row failed: /);
    expect(first.result).toMatchObject({ canResume: true, counts: { read: 0 } });
    expect(first.at[11]).toBeGreaterThan(100_000);
    const second = await runImport(first.options, first.deps);
    expect(second).toMatchObject({ stopped: null, counts: { read: 1, accepted: 1 } });
  });

  it('has a new number of attempts after each successful response', async () => {
    const resets = Array.from({ length: 11 }, () => 'cut' as const);
    const input = aFile(toLines(events(2)));
    const deps = someDeps(input);
    const replies: readonly Reply[] = [...resets, acceptedOne, ...resets, acceptedOne];
    const { url } = await startFakeRelay((_, index) => replies[index] ?? { status: 500 });
    const options = someOptions({ input, url, maxCount: 1 });
    const result = await whileTimePasses(deps.clock, runImport(options, deps));
    expect(result).toMatchObject({ stopped: null, counts: { accepted: 2 } });
  });

  it.each([
    ['without a listener', aFreePort, /^12 attempts in a row failed: ECONNREFUSED$/],
    ['that fetch does not permit', () => Promise.resolve(6000), /^bad port$/],
  ])('at a port %s is reported', async (_, findPort, words) => {
    const input = aFile(toLines(events(1)));
    const deps = someDeps(input);
    const options = someOptions({ input, url: `http://127.0.0.1:${await findPort()}` });
    const { stopped } = await whileTimePasses(deps.clock, runImport(options, deps));
    expect(stopped).toMatch(words);
  });

  it('that redirects does not receive the key elsewhere', async () => {
    const other = await startFakeRelay(acceptAll);
    const { result } = await importInto([{ status: 307, headers: { location: other.url } }]);
    expect(result.stopped).toContain('the server responds with 307');
    expect(other.received).toEqual([]);
  });

  it('that does not respond for each entry stops the import', async () => {
    const none: Reply = { status: 202, body: { accepted: 0, duplicates: 0, rejected: [] } };
    const { result } = await importInto([none]);
    expect(result).toMatchObject({
      counts: { read: 0 },
      stopped: expect.stringContaining('each entry') as string,
    });
  });

  it('that rejects a whole request gets its entries one by one', async () => {
    const input = aFile(toLines(events(4)));
    const { url } = await startFakeRelay(({ lines }) =>
      lines.some((line) => line.includes('"c2"'))
        ? { status: 400, body: aProblem('invalid', 'the body is odd') }
        : acceptAll({ path: '', headers: {}, lines }),
    );
    const { counts } = await runImport(someOptions({ input, url }), someDeps(input));
    expect(counts).toMatchObject({ accepted: 3, refused: 1 });
    expect(readRejected(input)).toMatchObject([
      { line: 3, errors: [{ detail: 'the body is odd' }] },
    ]);
  });
});

describe('an import that stops', () => {
  it('finishes the batch in flight on a stop signal and resumes after it', async () => {
    const input = aFile(toLines(events(10)));
    const stop = new AbortController();
    const { url, received } = await startFakeRelay((one) => {
      stop.abort();
      return acceptAll(one);
    });
    const options = someOptions({ input, url, maxCount: 3 });
    const first = await runImport(options, someDeps(input, { signal: stop.signal }));
    expect(first).toMatchObject({ stopped: 'interrupted', canResume: true, line: 3 });
    expect(progressOf(input)).toMatchObject({
      line: 3,
      counts: { accepted: 3 },
      isFinished: false,
    });
    const second = await runImport(options, someDeps(input));
    expect(second).toMatchObject({ stopped: null, counts: { read: 10, accepted: 10 } });
    const posted = received.flatMap(({ lines }) => lines);
    expect(posted.map((line) => (JSON.parse(line) as { distinct_id: string }).distinct_id)).toEqual(
      events(10).map(({ distinct_id }) => distinct_id),
    );
  });

  it('does not wait for a relay any longer on a stop signal', async () => {
    const input = aFile(toLines(events(1)));
    const stop = new AbortController();
    const full: Reply = { status: 503, headers: { 'retry-after': '300' } };
    const { url } = await startFakeRelay(() => full);
    const report = { ...quiet, waiting: () => stop.abort() };
    const deps = someDeps(input, { signal: stop.signal, report });
    const { stopped } = await runImport(someOptions({ input, url }), deps);
    expect(stopped).toBe('interrupted (503)');
    expect(deps.clock.monotonic()).toBe(0);
  });

  it('has nothing to do once it is finished', async () => {
    const input = aFile(toLines(events(2)));
    const { url, received } = await startFakeRelay(acceptAll);
    const options = someOptions({ input, url });
    await runImport(options, someDeps(input));
    expect(await runImport(options, someDeps(input))).toMatchObject({
      wasFinished: true,
      counts: { accepted: 2 },
    });
    expect(received).toHaveLength(1);
    await runImport({ ...options, restart: true }, someDeps(input));
    expect(received).toHaveLength(2);
    expect(received[1]?.lines).toEqual(received[0]?.lines);
  });

  it.each<[string, (input: string) => void]>([
    ['its size', (input) => writeFileSync(input, toLines(events(3)))],
    ['its beginning', (input) => keepTimes(input, toLines(events(2)).replace('Viewed', 'viewed'))],
    ['its time alone', (input) => utimesSync(input, 1, 1)],
  ])('does not resume with an input that changed in %s', async (_, change) => {
    const input = aFile(toLines(events(2)));
    const { url, received } = await startFakeRelay(acceptAll);
    const options = someOptions({ input, url });
    await runImport(options, someDeps(input));
    change(input);
    await expect(runImport(options, someDeps(input))).rejects.toThrow('has changed');
    await runImport({ ...options, restart: true }, someDeps(input));
    expect(received).toHaveLength(2);
  });

  function keepTimes(input: string, text: string): void {
    const { atimeMs, mtimeMs } = statSync(input);
    writeFileSync(input, text);
    utimesSync(input, atimeMs / 1000, mtimeMs / 1000);
  }

  it('does not resume with other options', async () => {
    const input = aFile(toLines(events(2)));
    const { url } = await startFakeRelay(acceptAll);
    const options = someOptions({ input, url });
    await runImport(options, someDeps(input));
    const other = { ...options, url: 'http://elsewhere', lane: 'profiles' as const };
    await expect(runImport(other, someDeps(input))).rejects.toThrow(
      `began with --url ${url}, --type events: use the same options`,
    );
  });

  it('resumes with the backfill choice that it began with, and with a file of versions without one', async () => {
    const input = aFile(toLines(events(1)));
    const { url } = await startFakeRelay(acceptAll);
    const options = someOptions({ input, url, backfill: 'age' });
    await runImport(options, someDeps(input));
    await expect(runImport({ ...options, backfill: 'all' }, someDeps(input))).rejects.toThrow(
      'began with --backfill age: use the same options',
    );
    const path = `${input}.import.json`;
    const { backfill, ...older } = JSON.parse(readFileSync(path, 'utf8')) as JsonObject;
    expect(backfill).toBe('age');
    writeFileSync(path, JSON.stringify(older));
    const { wasFinished } = await runImport({ ...options, backfill: 'all' }, someDeps(input));
    expect(wasFinished).toBe(true);
  });

  it('reports progress that cannot be read', async () => {
    const input = aFile(toLines(events(1)));
    writeFileSync(`${input}.import.json`, '{"version":1');
    const options = someOptions({ input, url: 'http://127.0.0.1:9' });
    await expect(runImport(options, someDeps(input))).rejects.toThrow('--restart starts again');
  });

  it('overwrites no file of another program', async () => {
    const input = aFile(toLines(['no JSON', '{}']));
    const { url } = await startFakeRelay(() => ({ status: 400, body: aProblem('invalid', 'no') }));
    const options = someOptions({ input, url });
    writeFileSync(options.rejectedPath, 'precious');
    await expect(runImport(options, someDeps(input))).rejects.toThrow('already exists');
    expect(readFileSync(options.rejectedPath, 'utf8')).toBe('precious');
    expect(existsSync(`${input}.import.json`)).toBe(false);
    await runImport({ ...options, restart: true }, someDeps(input));
    expect(readRejected(input).map(({ line }) => line)).toEqual([1, 2]);
  });
});

describe('an import of a pipe', () => {
  const pipe = (...chunks: readonly string[]) =>
    Readable.from(chunks.map((text) => Buffer.from(text)));

  it('records no progress', async () => {
    const input = '-';
    const folder = aFolder();
    const { url, received } = await startFakeRelay(acceptAll);
    const progressFile = createProgressFile(join(folder, 'import.json'));
    const stdin = pipe('event_name,email\ne,"a', '@b.com"\nf,c@d.com\n');
    const rejectedPath = join(folder, 'refused');
    const result = await runImport(
      someOptions({ input, url, format: 'csv', rejectedPath }),
      someDeps(input, { stdin, progressFile }),
    );
    expect(result).toMatchObject({ stopped: null, canResume: false, counts: { accepted: 2 } });
    expect(received[0]?.lines[0]).toContain('"a@b.com"');
    expect(existsSync(join(folder, 'import.json'))).toBe(false);
  });

  it('stops on a stop signal, even if no data arrives', async () => {
    const stop = new AbortController();
    const stdin = new Readable({ read: () => undefined });
    stdin.push(toLines(events(2)));
    const { url } = await startFakeRelay((one) => {
      stop.abort();
      return acceptAll(one);
    });
    const rejectedPath = join(aFolder(), 'rejected');
    const options = someOptions({ input: '-', url, maxCount: 1, rejectedPath });
    const result = await runImport(options, someDeps('-', { stdin, signal: stop.signal }));
    expect(result).toMatchObject({ stopped: 'interrupted', canResume: false, line: 1 });
  });
});

describe('a crash of an import', () => {
  it('between any response and its progress record loses nothing and duplicates nothing', async () => {
    const relay = await aRelay();
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.nat({ max: 4 }), { maxLength: 4 }),
        fc.constantFrom('ndjson', 'csv', 'csv.gz'),
        fc.uuid(),
        async (survived, format, run) => {
          const count = 13;
          const numbers = Array.from({ length: count }, (_, number) => number);
          const isBad = (number: number): boolean => number % 5 === 3;
          const name = (number: number): string => (isBad(number) ? '' : `${run} "${number}"`);
          const input =
            format !== 'ndjson'
              ? aFile(
                  toBytes(
                    `event_name,distinct_id,run\r\n${numbers.map((n) => `${JSON.stringify(name(n)).replaceAll('\\"', '""')},"c\n${n}",${run}\r\n`).join('')}`,
                    format,
                  ),
                  `x.${format}`,
                )
              : aFile(
                  toLines(numbers.map((n) => ({ event_name: name(n), distinct_id: `c\n${n}` }))),
                );
          const options = someOptions({ input, url: relay.app.url, maxCount: 3 });
          for (const saves of survived) await crashAfter(saves, options);
          const { counts } = await runImport(options, someDeps(input));
          expect(counts.read).toBe(count);
          expect(counts.accepted + counts.duplicates).toBe(11);
          const rejected = readRejected(input).map(
            ({ entry }) => (entry as { distinct_id: string }).distinct_id,
          );
          expect(rejected).toEqual(numbers.filter(isBad).map((number) => `c\n${number}`));
          const recorded = (await untilDelivered(relay)).events.flatMap(({ metric }) =>
            metric.startsWith(run) ? [metric] : [],
          );
          expect(recorded.sort()).toEqual(
            numbers
              .filter((n) => !isBad(n))
              .map(name)
              .sort(),
          );
        },
      ),
      { numRuns: 15 },
    );
  });

  const toBytes = (text: string, format: string): string | Buffer =>
    format === 'csv.gz' ? gzipSync(text) : text;

  /** Runs an import that fails at the progress record after `saves` others. */
  async function crashAfter(saves: number, options: ImportOptions): Promise<void> {
    const real = createProgressFile(`${options.input}.import.json`);
    let left = saves;
    const progressFile = {
      ...real,
      save: (progress: Progress) => {
        const written = statSync(options.rejectedPath, { throwIfNoEntry: false })?.size ?? 0;
        // Rejected entries must be on disk before the progress record.
        expect(written).toBe(progress.refused.bytes);
        if (left-- === 0) return Promise.reject(new Error('crash'));
        return real.save(progress);
      },
    };
    const run = runImport(options, someDeps(options.input, { progressFile }));
    await run.catch((error: unknown) => expect(error).toEqual(new Error('crash')));
  }
});
