import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { sourceNames } from '../../../src/sources/list.js';
import { explainMapping } from '../../../src/sources/mapping/explain.js';
import { applyMapping, parseMapping, type Mapping } from '../../../src/sources/mapping/mapping.js';
import type { SourcePost } from '../../../src/ingest/source-entry.js';
import type { JsonObject } from '../../../src/json/json.js';

function read(content: unknown): Mapping {
  const read = parseMapping(content);
  if (!read.ok) throw new Error(JSON.stringify(read.errors));
  return read.value;
}

function faultsOf(content: unknown): readonly string[] {
  const read = parseMapping(content);
  return read.ok ? [] : read.errors.map(({ pointer, detail }) => `${pointer} ${detail}`);
}

const aPost = (overrides: Partial<SourcePost> = {}): SourcePost => ({
  source: 'shopify',
  topic: 'orders/create',
  entries: [],
  people: [],
  skipped: [],
  ...overrides,
});

const aPlacedOrder = (properties: JsonObject = {}, overrides: JsonObject = {}): SourcePost =>
  aPost({
    entries: [
      {
        lane: 'events',
        index: 0,
        entry: {
          event_name: 'Placed Order',
          email: 'ada@klaviyo-demo.com',
          properties,
          ...overrides,
        },
      },
    ],
  });

const entriesOf = (post: SourcePost, shopify: unknown): readonly JsonObject[] =>
  applyMapping(post, read({ shopify })).entries.map(({ entry }) => entry);

describe('a topic', () => {
  const post = {
    ...aPlacedOrder(),
    people: [{ kind: 'order' as const, key: 'order-1', person: { email: 'ada@klaviyo-demo.com' } }],
    skipped: [{ reason: 'test' }],
  };

  it('that is off still stores the facts about its people', () => {
    const mapping = read({ shopify: { topics: { 'orders/create': false } } });
    expect(applyMapping(post, mapping)).toEqual({
      ...post,
      entries: [],
      skipped: [{ reason: 'test' }, { reason: 'topic_off' }],
    });
  });

  it.each([
    ['is another', { topics: { 'orders/cancelled': false } }],
    ['is on', { topics: { 'orders/create': true } }],
  ])('stays as it is if the topic in the file %s', (_, shopify) => {
    expect(applyMapping(post, read({ shopify }))).toEqual(post);
  });

  it('of one source does not affect another source', () => {
    expect(applyMapping(post, read({ stripe: { topics: { 'orders/create': false } } }))).toBe(post);
  });
});

describe('a metric', () => {
  it('is renamed, or skipped and counted', () => {
    const { entries } = aPlacedOrder();
    const item = { lane: 'events', index: 1, entry: { event_name: 'Ordered Product' } } as const;
    const kept = { lane: 'events', index: 2, entry: { event_name: 'Checkout Started' } } as const;
    const post = aPost({ entries: [item, ...entries, kept], skipped: [{ reason: 'test' }] });
    const mapping = read({
      shopify: { metrics: { 'Placed Order': 'Order Placed', 'Ordered Product': false } },
    });
    const shaped = applyMapping(post, mapping);
    expect(shaped.entries).toEqual([
      { ...entries[0], entry: { ...entries[0]?.entry, event_name: 'Order Placed' } },
      kept,
    ]);
    expect(shaped.skipped).toMatchObject([{ reason: 'test' }, { reason: 'metric_off' }]);
  });

  it('may have the name of a member that every object inherits', () => {
    const odd = aPlacedOrder({}, { event_name: 'constructor' });
    expect(applyMapping(odd, read({ shopify: { events: { toString: {} } } }))).toEqual(odd);
  });
});

describe('properties of an event', () => {
  const given = { OrderId: 1, Items: ['a'], BillingAddress: 'b', ShippingAddress: 's' };

  it.each<[string, object, object]>([
    [
      'only those under include',
      { properties: { include: ['OrderId', 'Nothing'] } },
      { OrderId: 1 },
    ],
    ['none', { properties: { include: [] } }, {}],
    [
      'all except those under exclude',
      { properties: { exclude: ['BillingAddress', 'ShippingAddress'] } },
      { OrderId: 1, Items: ['a'] },
    ],
    [
      'under new names',
      { properties: { include: ['OrderId', 'Items'], rename: { OrderId: 'order_number' } } },
      { order_number: 1, Items: ['a'] },
    ],
    [
      'without those that the rules of the event and of all events exclude',
      {
        properties: { exclude: ['BillingAddress'] },
        events: { 'Placed Order': { exclude: ['ShippingAddress'] } },
      },
      { OrderId: 1, Items: ['a'] },
    ],
    [
      'those that the rules of the event include, even if all events exclude them',
      {
        properties: { exclude: ['BillingAddress'], rename: { BillingAddress2: 'x' } },
        events: { 'Placed Order': { include: ['BillingAddress'] } },
      },
      { BillingAddress: 'b' },
    ],
    [
      'under its own new name rather than that for all',
      {
        properties: { include: ['OrderId', 'Items'], rename: { OrderId: 'a', Items: 'b' } },
        events: { 'Placed Order': { rename: { OrderId: 'c' } } },
      },
      { c: 1, b: ['a'] },
    ],
    ["not by another event's rules", { events: { 'Checkout Started': { include: [] } } }, given],
    [
      'under the original name of the event in the rules',
      {
        metrics: { 'Placed Order': 'Order Placed' },
        events: { 'Placed Order': { include: ['OrderId'] } },
      },
      { OrderId: 1 },
    ],
  ])('are %s', (_, shopify, expected) => {
    expect(entriesOf(aPlacedOrder(given), shopify)).toMatchObject([{ properties: expected }]);
    expect(entriesOf(aPlacedOrder(given), shopify)[0]?.properties).toEqual(expected);
  });

  const rename = { properties: { rename: { OrderId: 'order_id', Worth: '$value' } } };

  it('keep their name if another property has the new name', () => {
    const both = { OrderId: 1, order_id: 2 };
    expect(entriesOf(aPlacedOrder(both), rename)[0]?.properties).toEqual(both);
  });

  it('keep their name if a field becomes a property with the new name', () => {
    const shaped = entriesOf(aPlacedOrder({ OrderId: 1, Worth: 2 }, { order_id: 'x' }), rename);
    expect(shaped[0]?.properties).toEqual({ OrderId: 1, $value: 2 });
    const worth = entriesOf(aPlacedOrder({ OrderId: 1, Worth: 2 }, { value: 3 }), rename);
    expect(worth[0]?.properties).toEqual({ order_id: 1, Worth: 2 });
  });

  it('do not affect fields of the event', () => {
    const [shaped] = entriesOf(aPlacedOrder({}, { value: 5, order_id: '1' }), {
      properties: { include: [], exclude: ['value', 'email'] },
    });
    expect(shaped).toMatchObject({ email: 'ada@klaviyo-demo.com', value: 5, order_id: '1' });
  });

  it('stay as they are if they are not an object', () => {
    const odd = aPlacedOrder({}, { properties: 'all of them' });
    expect(entriesOf(odd, { properties: { include: [] } })).toEqual([odd.entries[0]?.entry]);
  });
});

describe('properties of a profile', () => {
  const toProfile = (entry: JsonObject) =>
    aPost({ entries: [{ lane: 'profiles', index: 0, entry }] });

  it('are those under properties and those beside the fields of a profile', () => {
    const entry = {
      email: 'ada@klaviyo-demo.com',
      first_name: 'Ada',
      plan: 'gold',
      secret: 1,
      properties: { note: 'x', plan: 'silver', size: 'M' },
    };
    const shopify = { properties: { exclude: ['secret', 'note'], rename: { size: 'Size' } } };
    expect(entriesOf(toProfile(entry), shopify)).toEqual([
      {
        email: 'ada@klaviyo-demo.com',
        first_name: 'Ada',
        properties: { plan: 'gold', Size: 'M' },
      },
    ]);
  });

  it('are dropped also if the member properties is null', () => {
    const entry = { distinct_id: '7', secret: 1, properties: null };
    expect(entriesOf(toProfile(entry), { properties: { include: [] } })).toEqual([
      { distinct_id: '7' },
    ]);
  });

  it('do not follow the rules of an event', () => {
    const entry = { distinct_id: '7', event_name: 'Placed Order' };
    const shopify = {
      metrics: { 'Placed Order': 'x' },
      events: { 'Placed Order': { include: [] } },
    };
    expect(entriesOf(toProfile(entry), shopify)).toEqual([
      { distinct_id: '7', properties: { event_name: 'Placed Order' } },
    ]);
  });
});

it('a mapping drops only the properties that it names, whatever the names are', () => {
  const name: fc.Arbitrary<string> = fc.constantFrom('a', 'b', 'c', 'd', 'order_id', '$value');
  const properties = fc.dictionary(name, fc.nat());
  const rules = fc.record({
    include: fc.option(fc.uniqueArray(name, { minLength: 3 }), { nil: null, freq: 2 }),
    exclude: fc.uniqueArray(name, { maxLength: 1 }),
    rename: fc.dictionary(name, fc.constantFrom('d', 'e', 'f', 'order_id', '$value'), {
      maxKeys: 2,
    }),
  });
  fc.assert(
    fc.property(properties, rules, rules, (given, all, own) => {
      const mapping = parseMapping({
        shopify: { properties: all, events: { 'Placed Order': own } },
      });
      fc.pre(mapping.ok);
      const post = aPlacedOrder(given, { order_id: 'x' });
      const shaped = applyMapping(post, mapping.value).entries[0]?.entry.properties as JsonObject;
      const kept = Object.keys(given).filter((each) => {
        if (own.exclude.includes(each)) return false;
        if (own.include !== null) return own.include.includes(each);
        if (all.exclude.includes(each)) return false;
        return all.include === null || all.include.includes(each);
      });
      expect(Object.values(shaped).sort()).toEqual(kept.map((each) => given[each]).sort());
      if (given.order_id === undefined) expect(shaped).not.toHaveProperty('order_id');
    }),
  );
});

describe('a mapping', () => {
  it.each<[string, unknown, readonly string[]]>([
    ['an unknown source', { woo: {} }, ['/woo is not a field of a mapping']],
    ['a list', [], [` must hold ${sourceNames.join(', ')}, or some of them`]],
    ['an unknown part', { stripe: { metric: {} } }, ['/stripe/metric is not a field of stripe']],
    [
      'a source that is text',
      { stripe: 'off' },
      ['/stripe must hold topics, metrics, properties, events or consent'],
    ],
    [
      'a topic with a name',
      { stripe: { topics: { x: 'y' } } },
      ['/stripe/topics/x must be true or false'],
    ],
    [
      'topics in a list',
      { stripe: { topics: ['x'] } },
      ['/stripe/topics must hold names, each with a value'],
    ],
    [
      'a metric that is a number',
      { stripe: { metrics: { x: 1 } } },
      ['/stripe/metrics/x must be the new name of the metric, or false'],
    ],
    [
      'a metric without a name',
      { stripe: { metrics: { x: ' ' } } },
      ['/stripe/metrics/x must not be blank'],
    ],
    [
      'a metric with too long a name',
      { stripe: { metrics: { x: 'x'.repeat(128) } } },
      ['/stripe/metrics/x must have at most 127 characters'],
    ],
    [
      'a metric that YAML 1.1 would turn off',
      { stripe: { metrics: { x: 'Off' } } },
      ['/stripe/metrics/x is text to YAML: write true or false'],
    ],
    [
      'two metrics of one name',
      { stripe: { metrics: { x: 'z', y: 'z' } } },
      [
        '/stripe/metrics/x would have the same name as "y"',
        '/stripe/metrics/y would have the same name as "x"',
      ],
    ],
    [
      'a metric with the name of one that keeps its own',
      { stripe: { metrics: { x: 'w', w: true } } },
      [
        '/stripe/metrics/x would have the same name as "w"',
        '/stripe/metrics/w would have the same name as "x"',
      ],
    ],
    [
      'rules of an event that is off',
      { stripe: { metrics: { x: false }, events: { x: {} } } },
      ['/stripe/events/x is turned off under metrics'],
    ],
    [
      'rules of an event by its new name',
      { stripe: { metrics: { x: 'w' }, events: { w: {} } } },
      ['/stripe/events/w goes by its original name here: "x"'],
    ],
    [
      'properties that are not a list',
      { stripe: { properties: { include: 'a' } } },
      ['/stripe/properties/include must be a list of names of properties'],
    ],
    [
      'a forbidden name',
      { stripe: { properties: { rename: { a: '__proto__' } } } },
      ['/stripe/properties/rename/a is a name that is not allowed'],
    ],
    [
      'a property in both lists',
      { stripe: { properties: { include: ['a', 'b'], exclude: ['c', 'b'] } } },
      ['/stripe/properties/exclude/1 "b" is under include, too'],
    ],
    [
      'a new name for an excluded property',
      { stripe: { properties: { exclude: ['a'], rename: { a: 'b' } } } },
      ['/stripe/properties/rename/a is left out, so it cannot be renamed'],
    ],
    [
      'a new name for a property that is not included',
      { stripe: { properties: { include: ['b'], rename: { a: 'c' } } } },
      ['/stripe/properties/rename/a is left out, so it cannot be renamed'],
    ],
    [
      'two equal new names',
      { stripe: { properties: { rename: { a: 'c', b: 'c' } } } },
      [
        '/stripe/properties/rename/a would have the same name as "b"',
        '/stripe/properties/rename/b would have the same name as "a"',
      ],
    ],
    [
      'a new name that another property has',
      { stripe: { properties: { include: ['a', 'b'], rename: { a: 'b' } } } },
      ['/stripe/properties/rename/a "b" is another property, under include'],
    ],
    [
      'a chain of names',
      { stripe: { properties: { rename: { a: 'b', b: 'c' } } } },
      ['/stripe/properties/rename/a "b" is itself renamed'],
    ],
    [
      "an event's rule against that of all",
      {
        stripe: {
          properties: { exclude: ['a'], rename: { c: 'd' } },
          events: { x: { rename: { a: 'b', e: 'd' } } },
        },
      },
      [
        '/stripe/events/x/rename/a is left out, so it cannot be renamed',
        '/stripe/events/x/rename/e would have the same name as "c"',
      ],
    ],
  ])('with %s is rejected with the path of the issue', (_, content, faults) => {
    expect(faultsOf(content)).toEqual(faults);
  });

  it('reports the issues of all sources at once', () => {
    const faults = faultsOf({ shopify: { topics: 1 }, stripe: { events: 1 } });
    expect(faults).toHaveLength(2);
  });

  it('is valid if all lines below a heading are commented out', () => {
    const empty = { topics: null, metrics: null, properties: null, events: null };
    expect(faultsOf({ shopify: empty, stripe: null })).toEqual([]);
    expect(
      faultsOf({ shopify: { properties: { include: null, exclude: null, rename: null } } }),
    ).toEqual([]);
    expect(read(null)).toEqual({});
  });

  it('is valid if two metrics swap their names', () => {
    expect(faultsOf({ shopify: { metrics: { a: 'b', b: 'a' } } })).toEqual([]);
    expect(faultsOf({ shopify: { metrics: { a: 'b', b: false } } })).toEqual([]);
  });
});

describe('the explanation of a mapping', () => {
  it('lists for every source what is on, renamed and dropped', () => {
    const mapping = read({
      shopify: {
        topics: { 'orders/cancelled': false },
        metrics: { 'Placed Order': 'Order Placed', 'Ordered Product': false },
        properties: { include: ['OrderId'], exclude: ['Secret'], rename: { OrderId: 'order' } },
        events: { 'Placed Order': { exclude: ['ShippingAddress'] }, Other: {} },
      },
      stripe: { properties: { include: [] } },
    });
    const all = 'left out: Secret; OrderId becomes order; only OrderId';
    expect(explainMapping(mapping)).toEqual([
      { source: 'segment', lines: ['all on, as it comes'] },
      {
        source: 'shopify',
        lines: [
          'topic orders/cancelled: off',
          'all other topics: on',
          'metric Ordered Product: off',
          'metric Placed Order: becomes Order Placed',
          'all other metrics: on',
          `properties: ${all}`,
          `properties of Placed Order: left out: ShippingAddress; else ${all}`,
          `properties of Other: ${all}`,
        ],
      },
      { source: 'stripe', lines: ['properties: none'] },
      { source: 'woocommerce', lines: ['all on, as it comes'] },
      { source: 'generic', lines: ['no webhooks'] },
    ]);
  });
});
