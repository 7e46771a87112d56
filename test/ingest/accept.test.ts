import { describe, expect, it } from 'vitest';
import type { Store } from '../../src/model/store.js';
import {
  getFacts,
  putFacts,
  aProfile,
  anEvent,
  createFixture,
  receivedAt,
  toJson,
} from './fixture.js';

const full: Store['append'] = () =>
  Promise.resolve({ ok: false, backpressure: { reason: 'full', retryAfterMs: 1500 } });
const json = (strict = false) => ({ format: 'json', strict }) as const;
const ndjson = (strict = false) => ({ format: 'ndjson', strict }) as const;
const event = (fields: object = {}) => JSON.stringify(anEvent(fields));

describe('accepting one', () => {
  it('appends one draft and returns its id', async () => {
    const { accept, appended, counted } = createFixture();
    expect(await accept.one('events', event({ insert_id: 'a' }), {})).toEqual({
      kind: 'accepted',
      id: 'env-1-0',
      listIds: [],
      removalIds: [],
      duplicate: false,
      warnings: [],
    });
    expect(appended).toHaveLength(1);
    expect(appended[0]).toMatchObject([{ lane: 'events', acceptedAt: receivedAt }]);
    expect(await counted('ingest')).toEqual([{ lane: 'events', outcome: 'accepted', value: 1 }]);
  });

  it('returns that the entry is a duplicate', async () => {
    const { accept, counted } = createFixture();
    await accept.one('events', event({ insert_id: 'a' }), {});
    expect(await accept.one('events', event({ insert_id: 'a' }), {})).toMatchObject({
      kind: 'accepted',
      duplicate: true,
    });
    expect(await counted('ingest')).toEqual([
      { lane: 'events', outcome: 'accepted', value: 1 },
      { lane: 'events', outcome: 'duplicate', value: 1 },
    ]);
  });

  it('returns the backpressure of the store', async () => {
    const { accept, counted } = createFixture({ store: { append: full, putFacts, getFacts } });
    expect(await accept.one('profiles', JSON.stringify(aProfile()), {})).toEqual({
      kind: 'backpressure',
      reason: 'full',
      retryAfterMs: 1500,
    });
    expect(await counted('ingest')).toEqual([{ lane: 'profiles', outcome: 'refused', value: 1 }]);
  });

  it('appends nothing if the body is invalid', async () => {
    const { accept, appended, counted } = createFixture();
    expect(await accept.one('events', '{"a":1,"a":2}', {})).toEqual({
      kind: 'invalid',
      errors: [{ pointer: '/a', detail: 'is given more than once' }],
    });
    expect(appended).toEqual([]);
    expect(await counted('ingest')).toEqual([{ lane: 'events', outcome: 'invalid', value: 1 }]);
  });

  it('rejects if the store fails', async () => {
    const append = () => Promise.reject(new Error('disk gone'));
    const { accept } = createFixture({ store: { append, putFacts, getFacts } });
    await expect(accept.one('events', event(), {})).rejects.toThrow('disk gone');
  });

  it.each([
    ['k'.repeat(255), 'accepted'],
    ['k'.repeat(256), 'invalid'],
    ['', 'invalid'],
  ])('checks the length of the Idempotency-Key %.5s…', async (idempotencyKey, kind) => {
    const { accept } = createFixture();
    expect(await accept.one('events', event(), { idempotencyKey })).toMatchObject({ kind });
    expect(await accept.one('events', event({ insert_id: 'a' }), { idempotencyKey })).toMatchObject(
      { kind: 'accepted' },
    );
    expect(await accept.one('profiles', '{"distinct_id":"a"}', { idempotencyKey })).toMatchObject({
      kind: 'accepted',
    });
  });
});

describe('accepting many', () => {
  it.each([
    ['an object', `{"events":[${event()},${event()}]}`, json()],
    ['an array', `[${event()},${event()}]`, json()],
    ['lines', `${event()}\n${event()}`, ndjson()],
    ['lines with blank ones between', `\r\n${event()}\r\n \n\n${event()}\n`, ndjson()],
  ])('appends %s in one call of the store', async (_name, body, options) => {
    const { accept, appended } = createFixture();
    expect(await accept.many('events', body, options)).toEqual({
      kind: 'accepted',
      accepted: 2,
      duplicates: 0,
      ids: ['env-1-0', 'env-1-1'],
      rejected: [],
      rejectedCount: 0,
      warnings: [],
      warningCount: 0,
    });
    expect(appended).toHaveLength(1);
  });

  it('accepts the valid entries and lists the issues of the others by index', async () => {
    const { accept, drafts, counted } = createFixture();
    const entries = [
      event({ insert_id: 'a' }),
      event({ email: 'x' }),
      '{"event_name":"A","email":"a@b.co","properties":{"k":1,"k":2}}',
      event({ insert_id: 'a' }),
      event({ phone_number: 'ask me', insert_id: 'b' }),
      '{"event_name":"A","email":"a@b.co","properties":{"k":"\\ud800"}}',
      `{"event_name":"A","email":"a@b.co","insert_id":12345678901234567890}`,
      '7',
      `{"event_name":"A","email":"a@b.co","properties":{"k":${'['.repeat(9999)}${']'.repeat(9999)}}}`,
    ];
    const response = await accept.many('events', `{"events":[${entries.join(',')}]}`, json());
    expect(response).toMatchObject({
      kind: 'accepted',
      accepted: 3,
      duplicates: 1,
      ids: ['env-1-0', 'env-1-1', 'env-1-2', 'env-1-3'],
      rejected: [
        { index: 1, errors: [{ pointer: '/email' }] },
        { index: 2, errors: [{ pointer: '/properties/k', detail: 'is given more than once' }] },
        { index: 5, errors: [{ pointer: '/properties/k' }] },
        { index: 7, errors: [{ pointer: '' }] },
        { index: 8, errors: [{ detail: 'is nested deeper than 64 levels' }] },
      ],
      warnings: [{ index: 4, warnings: [{ pointer: '/phone_number' }] }],
    });
    expect(new TextDecoder().decode(drafts()[3]?.payload)).toContain('"12345678901234567890"');
    expect(await counted('ingest')).toEqual([
      { lane: 'events', outcome: 'accepted', value: 3 },
      { lane: 'events', outcome: 'duplicate', value: 1 },
      { lane: 'events', outcome: 'invalid', value: 5 },
    ]);
    expect(await counted('ingestWarnings')).toEqual([
      { lane: 'events', warning: 'phone_unusable', value: 1 },
    ]);
  });

  it('rejects only the line that is not JSON', async () => {
    const { accept, drafts } = createFixture();
    const body = `${event({ value: 1 })}\n{"event_name":\n\n{"a":1,"a":2}\n${event({ value: 2 })}`;
    expect(await accept.many('events', body, ndjson())).toMatchObject({
      kind: 'accepted',
      accepted: 2,
      rejected: [
        { index: 1, errors: [{ pointer: '', detail: 'is not valid JSON: it ends early' }] },
        { index: 2, errors: [{ pointer: '/a' }] },
      ],
    });
    expect(drafts()).toHaveLength(2);
  });

  it('accepts nothing of a strict request if one entry is invalid', async () => {
    const { accept, appended, counted } = createFixture();
    const body = `[${event()},${event({ value: 'x', other: 1 })}]`;
    expect(await accept.many('events', body, json(true))).toMatchObject({
      kind: 'invalid',
      errors: [{ pointer: '/1/value' }, { pointer: '/1/other' }],
      rejected: [{ index: 1, errors: [{ pointer: '/value' }, { pointer: '/other' }] }],
    });
    expect(appended).toEqual([]);
    expect(await counted('ingest')).toEqual([{ lane: 'events', outcome: 'invalid', value: 2 }]);
    expect(await accept.many('events', `[${event()}]`, json(true))).toMatchObject({ accepted: 1 });
  });

  it('returns invalid if no entry is valid', async () => {
    const { accept, appended } = createFixture();
    expect(await accept.many('profiles', '{"profiles":[{"email":"x"},{}]}', json())).toMatchObject({
      kind: 'invalid',
      errors: [{ pointer: '/0/email' }, { pointer: '/1' }],
      rejected: [{ index: 0 }, { index: 1 }],
    });
    expect(appended).toEqual([]);
  });

  it.each([
    ['{"events":[]}', 'holds nothing to accept', ''],
    ['[]', 'holds nothing to accept', ''],
    ['{"profiles":[{}]}', 'must be {"events":[…]} or an array', ''],
    ['{}', 'must be {"events":[…]} or an array', ''],
    ['5', 'must be {"events":[…]} or an array', ''],
    ['{"events":{}}', 'must be {"events":[…]} or an array', ''],
    ['{"events":[1],"source":"x"}', 'is not known beside events', '/source'],
    ['{"events":[1],"events":[2]}', 'is given more than once', '/events'],
    ['[{]', 'is not valid JSON: see character 3', ''],
    ['', 'is empty', ''],
  ])('rejects the body %s', async (body, detail, pointer) => {
    const { accept, appended, counted } = createFixture();
    expect(await accept.many('events', body, json())).toEqual({
      kind: 'invalid',
      errors: [{ pointer, detail }],
      rejected: [],
      rejectedCount: 0,
    });
    expect(appended).toEqual([]);
    expect(await counted('ingest')).toEqual([{ lane: 'events', outcome: 'invalid', value: 1 }]);
  });

  it('rejects a body of blank lines', async () => {
    expect(await createFixture().accept.many('events', ' \n\n', ndjson())).toMatchObject({
      kind: 'invalid',
      errors: [{ pointer: '', detail: 'holds nothing to accept' }],
    });
  });

  it('counts the entries of a request that meets backpressure', async () => {
    const { accept, counted } = createFixture({ store: { append: full, putFacts, getFacts } });
    expect(await accept.many('events', `[${event()},${event()},0]`, json())).toEqual({
      kind: 'backpressure',
      reason: 'full',
      retryAfterMs: 1500,
    });
    expect(await counted('ingest')).toEqual([
      { lane: 'events', outcome: 'invalid', value: 1 },
      { lane: 'events', outcome: 'refused', value: 2 },
    ]);
  });

  it.each([
    ['json', `[${'0,'.repeat(50_001)}0]`],
    ['ndjson', '0\n'.repeat(50_002)],
  ] as const)('bounds the number of entries that are not valid in %s', async (format, body) => {
    const { accept } = createFixture();
    expect(await accept.many('events', body, { format, strict: false })).toEqual({
      kind: 'invalid',
      errors: [{ pointer: '', detail: 'holds more than 50000 entries that are not valid' }],
      rejected: [],
      rejectedCount: 0,
    });
  });

  it('bounds the list of issues: beyond a number, one issue for each entry', async () => {
    const { accept } = createFixture();
    const bad = JSON.stringify({ a: 1, b: 1, c: 1, d: 1, e: 1, f: 1, g: 1, h: 1, i: 1, j: 1 });
    const response = await accept.many('events', `[${`${bad},`.repeat(2000)}0]`, json());
    if (response.kind !== 'invalid') throw new Error(response.kind);
    expect(response.rejected).toHaveLength(2001);
    expect(response.rejected.at(-2)?.errors).toHaveLength(1);
    expect(response.errors.length).toBeLessThan(13_000);
  });

  it('keeps the order of a large request and does not block the event loop', async () => {
    const { accept, drafts } = createFixture();
    const body = Array.from({ length: 1000 }, (_, at) => event({ insert_id: `i${at}` })).join('\n');
    let responses = false;
    const many = accept.many('events', body, ndjson()).then((response) => {
      responses = true;
      return response;
    });
    const turn = new Promise((resolve) => setImmediate(() => resolve(responses)));
    expect(await turn).toBe(false);
    expect(await many).toMatchObject({ accepted: 1000, rejected: [] });
    expect(JSON.stringify(toJson(drafts()[999]?.payload))).toContain('"unique_id":"i999"');
  });
});
