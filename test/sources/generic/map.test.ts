import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { loadConfig, ConfigError } from '../../../src/config/config.js';
import { parseJson } from '../../../src/json/json.js';
import { mapGenericWebhook } from '../../../src/sources/generic/map.js';
import { checkCallerBody } from '../../../src/sources/generic/verify.js';
import { explainMapping } from '../../../src/sources/mapping/explain.js';
import { parseMapping } from '../../../src/sources/mapping/mapping.js';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const verify = { token: { header: 'X-Token' } };

function read(webhook: object) {
  const mapping = parseMapping({ generic: { shop: { verify, ...webhook } } });
  if (!mapping.ok) throw new Error(JSON.stringify(mapping.errors));
  const { shop } = mapping.value.generic ?? {};
  if (shop === undefined) throw new Error('no webhook');
  return shop;
}

const faultsOf = (webhook: object): readonly string[] => {
  const mapping = parseMapping({ generic: { shop: webhook } });
  return mapping.ok ? [] : mapping.errors.map(({ pointer, detail }) => `${pointer} ${detail}`);
};

function map(webhook: object, body: unknown, headers = {}) {
  const parsed = parseJson(typeof body === 'string' ? body : JSON.stringify(body));
  if (!parsed.ok) throw new Error(parsed.issue.detail);
  return mapGenericWebhook(read(webhook), { name: 'shop', headers, body: parsed.value });
}

const event = (rule: object) => ({ events: [{ event_name: 'E', email: '$.email', ...rule }] });
const email = 'ada@klaviyo-demo.com';
const entryOf = (rule: object, body: object) => map(event(rule), { email, ...body }).entries[0];

describe('a rule of a generic webhook', () => {
  it.each([
    [{ '$.type': 'a' }, { type: 'a' }, true],
    [{ '$.type': 'a' }, { type: 'b' }, false],
    [{ '$.type': ['a', 'b'] }, { type: 'b' }, true],
    [{ '$.n': 2 }, { n: '2' }, true],
    [{ '$.ok': true }, { ok: false }, false],
    [{ '$.at': null }, { at: null }, true],
    [{ '$.at': { exists: true } }, {}, false],
    [{ '$.type': { not: ['a'] } }, { type: 'b' }, true],
    [{ '$.items[*].kind': 'gift' }, { items: [{ kind: 'x' }, { kind: 'gift' }] }, true],
    [{ '$.a': 1, '$.b': 2 }, { a: 1, b: 3 }, false],
  ])('applies if its conditions hold: %j of %j is %j', (when, body, holds) => {
    expect(map(event({ when }), { email, ...body })).toMatchObject(
      holds ? { skipped: [] } : { entries: [], skipped: [{ reason: 'unmapped' }] },
    );
  });

  it('evaluates alternatives, constants, templates, lists and objects', () => {
    const properties = {
      First: ['$.none', '$.blank', '$.second', 'never'],
      Constant: { $constant: '$.5 off' },
      Text: 'plain',
      Template: 'no {$.n} of {$.second}',
      Broken: 'no {$.none}',
      All: { $all: '$.list[*].x' },
      Nested: { Deep: '$.list[1].x', None: '$.none' },
      Big: '$.big',
      Header: 'header:X-Kind',
    };
    const body =
      '{"email":"ada@klaviyo-demo.com","blank":" ","second":"two","n":7,"list":[{"x":1},{"x":2}],"big":12345678901234567890}';
    const { entries } = map(event({ properties }), body, { 'x-kind': 'k' });
    expect(entries[0]?.entry.properties).toMatchObject({
      First: 'two',
      Constant: '$.5 off',
      Text: 'plain',
      Template: 'no 7 of two',
      All: [1, 2],
      Nested: { Deep: 2 },
      Big: { digits: '12345678901234567890' },
      Header: 'k',
    });
    expect(entries[0]?.entry.properties).not.toHaveProperty('Broken');
  });

  it('creates an entry with its own id for each element', () => {
    const rule = {
      each: '$.items[*]',
      insert_id: '{$.id}-{@.sku}',
      value: '@.price',
      currency: 'EUR',
    };
    const { entries } = map(event(rule), {
      email,
      id: 5,
      items: [
        { sku: 'a', price: '$1,299.00' },
        { sku: 'b', price: '1.50' },
      ],
    });
    expect(entries.map(({ entry, index }) => [index, entry.insert_id, entry.value])).toEqual([
      [0, '5-a', undefined],
      [1, '5-b', 1.5],
    ]);
    expect(entries[0]?.warnings).toMatchObject([{ code: 'unreadable_amount' }]);
  });

  it('reads amounts exactly and keeps unreadable ones as properties', () => {
    const money = { value: '$.v', currency: '$.c' };
    expect(entryOf(money, { v: '1,299.00', c: 'usd' })?.entry).toMatchObject({
      value: 1299,
      currency: 'USD',
    });
    const odd = entryOf(
      { ...money, value: ['$.v', '$.other'] },
      { v: 'a lot', c: 'USD', other: 5 },
    );
    expect(odd?.entry).not.toHaveProperty('value');
    expect(odd).toMatchObject({
      entry: { currency: 'USD', properties: { value_invalid: 'a lot' } },
      warnings: [{ code: 'unreadable_amount', pointer: '/v' }],
    });
    expect(entryOf(money, { v: 5 })?.warnings).toMatchObject([{ code: 'no_currency' }]);
    const minor = { ...money, amounts: 'minor' };
    expect(entryOf(minor, { v: 1299, c: 'USD' })?.entry).toMatchObject({ value: 12.99 });
    expect(entryOf(minor, { v: '1299', c: 'JPY' })?.entry).toMatchObject({ value: 1299 });
    expect(entryOf(minor, { v: 1299, c: 'KWD' })?.entry).toMatchObject({ value: 1.299 });
    expect(entryOf(minor, { v: '12.99', c: 'USD' })?.entry).not.toHaveProperty('value');
    expect(entryOf(minor, { v: 1299 })?.entry).toMatchObject({
      properties: { value_invalid: 1299 },
    });
  });

  it('reads times and warns about an unreadable one', () => {
    const rule = { event_time: '$.at' };
    expect(entryOf(rule, { at: 1768200000 })?.entry.event_time).toBe('2026-01-12T06:40:00.000Z');
    const odd = entryOf(rule, { at: 'soon' });
    expect(odd?.entry).not.toHaveProperty('event_time');
    expect(odd).toMatchObject({
      entry: { properties: { event_time_invalid: 'soon' } },
      warnings: [{ code: 'unreadable_time', pointer: '/at' }],
    });
  });

  it('creates the same id for a repeated request if it has no insert_id', () => {
    const idOf = (body: object) => entryOf({}, body)?.entry.insert_id;
    expect(idOf({ a: 1 })).toBe(idOf({ a: 1 }));
    expect(idOf({ a: 1 })).not.toBe(idOf({ a: 2 }));
    expect(entryOf({ insert_id: '$.id' }, { id: 'x'.repeat(300) })?.entry.insert_id).toMatch(
      /^generic:shop:0:0:/,
    );
  });

  it('keeps the person of an object and looks it up for a later request', () => {
    const order = event({
      phone_number: '$.phone',
      phone_country: 'US',
      remember: { order: '$.id' },
    });
    expect(map(order, { email, id: 7, phone: '(617) 555-1212' })).toMatchObject({
      entries: [{ entry: { email, phone_number: '+16175551212' } }],
      people: [{ kind: 'order', key: 'shop:order:7', person: { email } }],
    });
    const refund = event({ person_from: { order: '$.order_id' } });
    expect(map(refund, { order_id: 7 }).entries).toMatchObject([{ personKeys: ['shop:order:7'] }]);
    expect(map(event({}), {})).toMatchObject({ entries: [], skipped: [{ reason: 'anonymous' }] });
    const visitor = event({ anonymous_id: '$.visitor' });
    expect(map(visitor, { visitor: 'v1' }).entries).toMatchObject([
      { entry: { anonymous_id: 'v1' } },
    ]);
  });

  it('shortens an event name that is too long and keeps the full name as a property', () => {
    const name = 'x'.repeat(200);
    expect(entryOf({ event_name: '$.n' }, { n: name })).toMatchObject({
      entry: { event_name: 'x'.repeat(127), properties: { event_name_full: name } },
      warnings: [{ code: 'shortened_event_name' }],
    });
    expect(map(event({ event_name: '$.n' }), { email })).toMatchObject({
      skipped: [{ reason: 'no_event_name' }],
    });
  });

  it('never throws and maps each request to entries or a skip', () => {
    const webhook = {
      kind: '$.k',
      events: [
        {
          each: '$..x',
          event_name: '@.n',
          email: '@',
          value: '@.v',
          currency: '$.c',
          properties: '$',
        },
        { event_name: 'E', distinct_id: '$..id', event_time: '$.at', insert_id: '$[0]' },
      ],
      profiles: [{ email: '$.email', location: { zip: '$.zip' }, properties: '$.p' }],
    };
    fc.assert(
      fc.property(fc.jsonValue(), (body) => {
        const { entries, skipped } = map(webhook, JSON.stringify(body));
        expect(entries.length + skipped.length).toBeGreaterThan(0);
      }),
    );
  });
});

describe('the section generic of the mapping file', () => {
  const rules = { events: [{ event_name: 'E' }] };
  it.each([
    [{ ...rules }, '/generic/shop/verify must hold hmac or token'],
    [{ verify: {}, ...rules }, '/generic/shop/verify must hold either hmac or token'],
    [{ verify }, '/generic/shop has neither events nor profiles'],
    [{ verify, events: [{}] }, '/generic/shop/events/0/event_name is required'],
    [
      { verify, events: [{ event_name: 'E', emial: 'x' }] },
      '/generic/shop/events/0/emial is not a field of 0',
    ],
    [
      { verify, events: [{ event_name: '$.a[' }] },
      '/generic/shop/events/0/event_name is no JSONPath: ',
    ],
    [
      { verify, events: [{ event_name: '@.a' }] },
      '/generic/shop/events/0/event_name begins with @',
    ],
    [
      { verify, events: [{ event_name: 'E', when: { '$.[': 1 } }] },
      '/generic/shop/events/0/when/$.[',
    ],
    [
      { verify, events: [{ event_name: 'E', each: '$.i', insert_id: '$.id' }] },
      '/generic/shop/events/0/insert_id is the same for each element',
    ],
    [
      { verify, events: [{ event_name: 'E', remember: { ordr: '$.id' } }] },
      '/generic/shop/events/0/remember/ordr must be one of order, payment, charge, customer, user, device, other; did you mean order?',
    ],
    [
      { verify: { hmac: { header: 'X-S', timestampHeader: 'X-T' } }, ...rules },
      '/generic/shop/verify/hmac/signed must have {timestamp}',
    ],
    [
      { verify: { hmac: { header: 'X-S', algorithm: 'md5' } }, ...rules },
      '/generic/shop/verify/hmac/algorithm must be sha256, sha1, sha512',
    ],
  ])('is rejected with the path of the issue: %j', (webhook, fault) => {
    expect(faultsOf(webhook)).toEqual([expect.stringContaining(fault)]);
  });

  it('is described by how each webhook is verified and what it becomes', () => {
    const hmac = { header: 'X-S', key: 'v1', timestampKey: 't', signed: '{timestamp}.{body}' };
    const shop = {
      verify: { hmac },
      events: [{ event_name: 'E', when: { '$.a': 1 }, each: '$.i' }],
    };
    const mapping = parseMapping({ generic: { shop } });
    const lines = mapping.ok
      ? explainMapping(mapping.value).find(({ source }) => source === 'generic')
      : undefined;
    expect(lines?.lines).toEqual([
      '/webhooks/generic/shop: HMAC-SHA256 of {timestamp}.{body} in X-S, not older than 300 s',
      'shop: event E for each $.i where $.a is 1',
    ]);
  });

  it('needs a secret for each webhook and a webhook for each secret', () => {
    const folder = mkdtempSync(join(tmpdir(), 'relay-generic-'));
    const path = join(folder, 'mapping.json');
    writeFileSync(path, JSON.stringify({ generic: { shop: { verify, ...rules } } }));
    const load = (text: string): unknown => {
      const env = { KLAVIYO_API_KEY: 'pk_test', MAPPING_FILE: path, GENERIC_WEBHOOK_SECRETS: text };
      try {
        return loadConfig(env).GENERIC_WEBHOOK_SECRETS;
      } catch (error) {
        return error instanceof ConfigError ? error.problems : error;
      }
    };
    const name = 'GENERIC_WEBHOOK_SECRETS: ';
    expect(load('')).toEqual([`${name}has no secret for the webhook shop of MAPPING_FILE`]);
    expect(load('shop=long-secret=,with,shop=second-secret')).toEqual({
      shop: ['long-secret=,with', 'second-secret'],
    });
    expect(load('shop=long-secret\nshpo=long-secret')).toEqual([
      `${name}names shpo, and MAPPING_FILE has no webhook of this name; did you mean shop?`,
    ]);
    expect(load('long-secret')).toEqual([
      `${name}must be NAME=SECRET, one a line, with the names of MAPPING_FILE`,
    ]);
    rmSync(folder, { recursive: true });
  });
});

it('signatures are those of the published examples of GitHub and Standard Webhooks', () => {
  const github = read({
    verify: { hmac: { header: 'X-Hub-Signature-256', prefix: 'sha256=' } },
    events: [{ event_name: 'E' }],
  });
  const signature = 'sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17';
  const request = {
    url: '/',
    bytes: Buffer.from('Hello, World!'),
    headers: { 'x-hub-signature-256': signature },
  };
  const context = { secrets: ["It's a Secret to Everybody"], now: 0 };
  expect(checkCallerBody(github.verify, request, context)).toBeNull();
  const hmac = {
    header: 'webhook-signature',
    prefix: 'v1,',
    encoding: 'base64',
    secretEncoding: 'base64',
    signed: '{id}.{timestamp}.{body}',
    idHeader: 'webhook-id',
    timestampHeader: 'webhook-timestamp',
  };
  const standard = read({ verify: { hmac }, events: [{ event_name: 'E' }] });
  const headers = {
    'webhook-id': 'msg_p5jXN8AQM9LWM0D4loKWxJek',
    'webhook-timestamp': '1614265330',
    'webhook-signature': 'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=',
  };
  const bytes = Buffer.from('{"test": 2432232314}');
  const secrets = ['whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw'];
  expect(
    checkCallerBody(
      standard.verify,
      { url: '/', bytes, headers },
      { secrets, now: 1614265330_000 },
    ),
  ).toBeNull();
});
