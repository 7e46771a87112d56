import { afterEach, describe, expect, it } from 'vitest';
import type { SandboxOptions } from '../../src/sandbox/sandbox.js';
import {
  startTestSandbox,
  toCatalogItem,
  toCatalogJob,
  toCatalogVariant,
} from '../support/sandbox.js';
import type { JsonMap, SandboxResponse, SandboxUnderTest } from '../support/sandbox.js';

let at: SandboxUnderTest;
const start = async (options?: Partial<SandboxOptions>): Promise<void> => {
  at = await startTestSandbox({ importDelayMs: 300, ...options });
};
afterEach(() => at.sandbox.close());

type Kind = Parameters<typeof toCatalogJob>[0];
type Action = Parameters<typeof toCatalogJob>[1];
const send = (kind: Kind, action: Action, entries: readonly JsonMap[]): Promise<SandboxResponse> =>
  at.post(`/api/catalog-${kind}-bulk-${action}-jobs`, toCatalogJob(kind, action, entries));
const run = async (kind: Kind, action: Action, entries: readonly JsonMap[]): Promise<string> => {
  const response = await send(kind, action, entries);
  expect([response.status, response.text]).toEqual([202, response.text]);
  await at.clock.advance(300);
  return (response.body.data as { id: string }).id;
};
const toId = (externalId: string): string => `$custom:::$default:::${externalId}`;
const catalog = () => at.sandbox.state().catalog;

describe('a catalog job', () => {
  it('creates items and variants when it completes, and its read includes them', async () => {
    await start();
    const response = await send('item', 'create', [toCatalogItem('mug', { price: 10 })]);
    expect(response.status).toBe(202);
    expect(response.body.data).toMatchObject({
      type: 'catalog-item-bulk-create-job',
      attributes: { status: 'queued', total_count: 1, completed_count: 0, errors: [] },
    });
    const { id } = response.body.data as { id: string };
    expect(catalog().items).toEqual([]);
    await at.clock.advance(300);
    const path = `/api/catalog-item-bulk-create-jobs/${id}?include=items&fields[catalog-item]=title,price`;
    expect((await at.get(path)).body).toMatchObject({
      data: {
        attributes: { status: 'complete', completed_count: 1, failed_count: 0 },
        relationships: { items: { data: [{ type: 'catalog-item', id: toId('mug') }] } },
      },
      included: [{ id: toId('mug'), attributes: { title: 'Mug', price: 10 } }],
    });
    await run('variant', 'create', [toCatalogVariant('mug-red', 'mug')]);
    expect(catalog().variants).toMatchObject([{ id: toId('mug-red'), itemId: toId('mug') }]);
  });

  it('updates the named fields and deletes entries', async () => {
    await start();
    await run('item', 'create', [toCatalogItem('mug'), toCatalogItem('cup')]);
    await run('item', 'update', [{ id: toId('mug'), attributes: { title: 'Big mug' } }]);
    expect(catalog().items[0]?.attributes).toMatchObject({
      title: 'Big mug',
      description: 'A mug',
    });
    await run('item', 'delete', [{ id: toId('mug') }]);
    expect(catalog().items.map(({ id }) => id)).toEqual([toId('cup')]);
  });

  it('lists the entries that failed, and the others succeed', async () => {
    await start();
    await run('item', 'create', [toCatalogItem('mug')]);
    const again = await run('item', 'create', [toCatalogItem('mug'), toCatalogItem('cup')]);
    const { data } = (await at.get(`/api/catalog-item-bulk-create-jobs/${again}`)).body;
    expect(data).toMatchObject({
      attributes: {
        completed_count: 1,
        failed_count: 1,
        errors: [
          {
            detail: 'An item with the id `$custom:::$default:::mug` already exists.',
            source: { pointer: '/data/attributes/items/data/0' },
          },
        ],
      },
    });
    const orphan = await run('variant', 'create', [toCatalogVariant('x', 'none')]);
    const read = await at.get(`/api/catalog-variant-bulk-create-jobs/${orphan}`);
    expect(read.body.data).toMatchObject({
      attributes: {
        errors: [
          {
            code: 'not_found',
            detail: 'An item with the id `$custom:::$default:::none` does not exist.',
          },
        ],
      },
    });
  });

  it('fails for the entries that a poison rule marks', async () => {
    await start({
      faults: [
        {
          endpoint: 'catalog',
          poison: { when: { path: 'title', equals: 'Bad' }, at: 'job', detail: 'No such image' },
        },
      ],
    });
    const id = await run('item', 'create', [
      toCatalogItem('mug'),
      toCatalogItem('bad', { title: 'Bad' }),
    ]);
    expect((await at.get(`/api/catalog-item-bulk-create-jobs/${id}`)).body.data).toMatchObject({
      attributes: { failed_count: 1, errors: [{ detail: 'No such image' }] },
    });
  });

  it.each<[string, Kind, Action, JsonMap, string]>([
    [
      'a missing title',
      'item',
      'create',
      toCatalogItem('a', { title: undefined }),
      '/attributes/title',
    ],
    [
      'an unknown field',
      'item',
      'create',
      toCatalogItem('a', { color: 'red' }),
      '/attributes/color',
    ],
    ['a price as text', 'item', 'create', toCatalogItem('a', { price: '9' }), '/attributes/price'],
    [
      'another integration',
      'item',
      'create',
      toCatalogItem('a', { integration_type: 'shopify' }),
      '/attributes/integration_type',
    ],
    [
      'nested metadata',
      'item',
      'create',
      toCatalogItem('a', { custom_metadata: { a: { b: 1 } } }),
      '/attributes/custom_metadata/a',
    ],
    [
      'large metadata',
      'item',
      'create',
      toCatalogItem('a', { custom_metadata: { a: 'x'.repeat(100_000) } }),
      '/attributes/custom_metadata',
    ],
    ['an id that is not compound', 'item', 'update', { id: 'a', attributes: {} }, '/id'],
    ['a missing id', 'item', 'delete', {}, '/id'],
    ['a variant without an item', 'variant', 'create', { attributes: {} }, '/relationships'],
    [
      'an unknown inventory policy',
      'variant',
      'update',
      { id: toId('a'), attributes: { inventory_policy: 3 } },
      '/attributes/inventory_policy',
    ],
  ])('is refused for %s', async (_what, kind, action, entry, pointer) => {
    await start();
    const response = await send(kind, action, [entry]);
    expect(response.status).toBe(400);
    expect(response.errors.map(({ source }) => source.pointer)).toContain(
      `/data/attributes/${kind}s/data/0${pointer}`,
    );
  });

  it('holds at most 100 entries, and at most 500 jobs are in progress', async () => {
    await start();
    const many = Array.from({ length: 101 }, (_, index) => ({ id: toId(String(index)) }));
    expect((await send('item', 'delete', many)).errors[0]?.detail).toBe(
      'The maximum number of catalog items per request is 100.',
    );
    for (let job = 0; job < 500; job++) await send('item', 'delete', many.slice(0, 1));
    expect((await send('item', 'delete', many.slice(0, 1))).errors[0]?.detail).toBe(
      'The maximum number of jobs in progress at one time is 500.',
    );
    await at.clock.advance(300);
    expect((await send('item', 'delete', many.slice(0, 1))).status).toBe(202);
  });

  it('that does not exist is a 404, and reads of other jobs are a 501', async () => {
    await start();
    expect((await at.get('/api/catalog-item-bulk-create-jobs/none')).status).toBe(404);
    expect((await at.get('/api/catalog-item-bulk-update-jobs/none')).status).toBe(501);
  });
});
