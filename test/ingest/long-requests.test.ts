import { describe, expect, it } from 'vitest';
import { anEvent, createFixture } from './fixture.js';

const listed = (count: number, toText: (index: number) => string): string =>
  Array.from({ length: count }, (_, index) => toText(index)).join(',');
const event = (properties: string): string =>
  `{"event_name":"e","distinct_id":"d","properties":${properties}}`;
const names = `{${listed(300_000, (index) => `"k${index}":1`)}}`;

/** Counts the iterations of the event loop until `work` is done. Other requests are served in each iteration. */
async function countIterations(work: Promise<unknown>): Promise<number> {
  const state = { isDone: false };
  void work.then(() => (state.isDone = true));
  for (let iterations = 0; ; iterations++) {
    if (state.isDone) return iterations;
    await new Promise((resolve) => setImmediate(resolve));
  }
}

describe('an entry beyond a limit is rejected with a pointer to the field before the rest is read:', () => {
  it.each([
    ['300,000 properties', event(names), '/properties', 'has more than 400 properties'],
    ['300,000 fields', names, '', 'has more than 100 fields'],
    ['300,000 names in a property', event(`{"a":${names}}`), '/properties/a', 'values'],
    [
      'an array of a million numbers',
      event(`{"a":{"b":[${listed(1_000_000, () => '1')}]}}`),
      '/properties/a/b',
      'has more than 4000 elements',
    ],
    [
      'half a million nested arrays',
      event(`{"a":${'['.repeat(500_000)}${']'.repeat(500_000)}}`),
      `/properties/a${'/0'.repeat(9)}`,
      'is nested deeper than 10 levels',
    ],
    [
      'a list in place of an event',
      `[${listed(1_000_000, () => '{}')}]`,
      '',
      'must be a JSON object',
    ],
  ])('%s', async (_name, text, pointer, detail) => {
    const { accept, appended } = createFixture();
    const one = await accept.one('events', text, {});
    expect(one).toMatchObject({
      kind: 'invalid',
      errors: [{ pointer, detail: expect.stringContaining(detail) as string }],
    });
    const line = await accept.many('events', `${text}\n${JSON.stringify(anEvent())}`, {
      format: 'ndjson',
      strict: false,
    });
    expect(line).toMatchObject({ accepted: 1, rejected: [{ index: 0, errors: [{ pointer }] }] });
    const inList = await accept.many(
      'events',
      `[${JSON.stringify(anEvent())},${text},${JSON.stringify(anEvent({ insert_id: 'x' }))}]`,
      { format: 'json', strict: false },
    );
    expect(inList).toMatchObject({
      accepted: 2,
      rejected: [{ index: 1, errors: [{ pointer }] }],
    });
    expect(appended).toHaveLength(2);
  });

  it('a profile with more values than its byte limit permits', async () => {
    const { accept } = createFixture();
    expect(await accept.one('profiles', `{"distinct_id":"d","properties":${names}}`, {})).toEqual({
      kind: 'invalid',
      errors: [{ pointer: '/properties', detail: 'is longer than 100000 bytes' }],
    });
  });
});

describe('a long event within the limits is accepted unchanged', () => {
  it('with arrays, objects, strings and integers beyond 2^53', async () => {
    const { accept, drafts } = createFixture();
    const properties = `{"ints":[${listed(3000, () => '12345678901234567890')}],"text":"${'x'.repeat(99_000)}","objects":[${listed(3000, (index) => `{"n${index}":${index}}`)}]}`;
    expect(await accept.one('events', event(properties), {})).toMatchObject({ kind: 'accepted' });
    expect(Buffer.from(drafts()[0]?.payload ?? []).toString()).toContain(
      `"properties":${properties}`,
    );
  });

  it('in a list between short events', async () => {
    const { accept, drafts } = createFixture();
    const long = event(`{"text":"${'x'.repeat(99_000)}","list":[${listed(3000, () => '1')}]}`);
    const short = JSON.stringify(anEvent());
    const body = `{"events":[${short},${long},${short.replace('ada', 'eve')},${long.replace('"d"', '"f"')}]}`;
    expect(await accept.many('events', body, { format: 'json', strict: true })).toMatchObject({
      accepted: 4,
    });
    expect(drafts().map(({ payload }) => payload.length > 90_000)).toEqual([
      false,
      true,
      false,
      true,
    ]);
  });
});

describe('accept yields to the event loop while it reads', () => {
  it.each([
    ['4.9 million empty lines', '\n'.repeat(4_900_000), 'ndjson', 1],
    ['20,000 lines that are not events', '{}\n'.repeat(20_000), 'ndjson', 80],
    ['20,000 entries that are not events', `[${listed(20_000, () => '{}')}]`, 'json', 80],
  ] as const)('%s', async (_name, body, format, least) => {
    const { accept, appended } = createFixture();
    const iterations = await countIterations(
      accept.many('events', body, { format, strict: false }),
    );
    // The manual clock stands still, so each slice has the maximum number of steps.
    expect(iterations).toBeGreaterThanOrEqual(least);
    expect(appended).toEqual([]);
  });

  it('concurrent requests in slices, with the results of separate requests', async () => {
    const { accept } = createFixture();
    const body = (from: number): string =>
      Array.from({ length: 1500 }, (_, index) =>
        JSON.stringify(anEvent({ insert_id: `i${from + (index % 1000)}` })),
      ).join('\n');
    const [one, other, single] = await Promise.all([
      accept.many('events', body(0), { format: 'ndjson', strict: true }),
      accept.many('events', body(1000), { format: 'ndjson', strict: true }),
      accept.one('events', event(`{"a":"${'x'.repeat(90_000)}"}`), {}),
    ]);
    expect(one).toMatchObject({ accepted: 1000, duplicates: 500 });
    expect(other).toMatchObject({ accepted: 1000, duplicates: 500 });
    expect(single).toMatchObject({ kind: 'accepted' });
  });
});

describe('a result has a bounded list and counts the rest', () => {
  it('of rejected entries and of warnings', async () => {
    const { accept, counted } = createFixture();
    const body = Array.from({ length: 6000 }, (_, index) =>
      JSON.stringify(anEvent({ insert_id: `i${index}`, phone_number: 'none' })),
    );
    const result = await accept.many(
      'events',
      [...body, ...Array<string>(7000).fill('0')].join('\n'),
      {
        format: 'ndjson',
        strict: false,
      },
    );
    if (result.kind !== 'accepted') throw new Error(result.kind);
    expect(result).toMatchObject({ accepted: 6000, rejectedCount: 7000, warningCount: 6000 });
    expect(result.rejected).toHaveLength(5000);
    expect(result.rejected[0]?.index).toBe(6000);
    expect(result.warnings).toHaveLength(5000);
    expect(await counted('ingest')).toContainEqual({
      lane: 'events',
      outcome: 'invalid',
      value: 7000,
    });
  });

  it('of errors if no entry is accepted', async () => {
    const { accept } = createFixture();
    const result = await accept.many('events', '0\n'.repeat(7000), {
      format: 'ndjson',
      strict: false,
    });
    if (result.kind !== 'invalid') throw new Error(result.kind);
    expect(result.errors).toHaveLength(5001);
    expect(result.errors.at(-1)).toEqual({
      pointer: '',
      detail: 'holds 2000 more entries that are not valid',
    });
  });

  it('of pointers with long names at deep levels', async () => {
    const { accept } = createFixture();
    const name = 'n'.repeat(120);
    const deep = `${`{"${name}":`.repeat(60)}"\\ud800"${'}'.repeat(60)}`;
    const result = await accept.many('events', `${event(deep)}\n`.repeat(600), {
      format: 'ndjson',
      strict: false,
    });
    expect(JSON.stringify(result).length).toBeLessThan(3_000_000);
  });

  it('of no accepted events: all of the smallest events in five megabytes are accepted', async () => {
    const { accept, drafts } = createFixture();
    const body = `[${listed(110_000, (index) => `{"event_name":"e","distinct_id":${index}}`)}]`;
    expect(await accept.many('events', body, { format: 'json', strict: true })).toMatchObject({
      accepted: 110_000,
    });
    expect(drafts()).toHaveLength(110_000);
  }, 60_000);
});
