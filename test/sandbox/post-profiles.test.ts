import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  startTestSandbox,
  toBulkEvents,
  toBulkProfiles,
  toProfileImport,
  toWrapper,
} from '../support/sandbox.js';
import type { JsonMap, SandboxResponse, SandboxUnderTest } from '../support/sandbox.js';

let at: SandboxUnderTest;
beforeEach(async () => {
  at = await startTestSandbox({ importDelayMs: 300 });
});
afterEach(() => at.sandbox.close());

const importOne = (attributes: JsonMap, meta?: JsonMap): Promise<SandboxResponse> =>
  at.post('/api/profile-import', toProfileImport(attributes, meta));
const importMany = (profiles: readonly JsonMap[], lists?: string[]): Promise<SandboxResponse> =>
  at.post('/api/profile-bulk-import-jobs', toBulkProfiles(profiles, lists));
/** Imports profiles and completes the job. */
const importAndWait = async (profiles: readonly JsonMap[]): Promise<string> => {
  const response = await importMany(profiles);
  expect(response.status).toBe(202);
  await at.clock.advance(300);
  return (response.body.data as { id: string }).id;
};
const held = (): JsonMap[] => at.sandbox.state().profiles.map(({ attributes }) => attributes);

describe('profile-import', () => {
  it('responds with 201 for a new profile and 200 for an existing one', async () => {
    const first = await importOne({ email: 'ada@klaviyo-demo.com', first_name: 'Ada' });
    expect(first.status).toBe(201);
    expect(first.body.data).toMatchObject({
      type: 'profile',
      attributes: { email: 'ada@klaviyo-demo.com', first_name: 'Ada', last_name: null },
    });
    const second = await importOne({ email: 'ADA@klaviyo-demo.com', last_name: 'L' });
    expect(second.status).toBe(200);
    expect((second.body.data as JsonMap).id).toBe((first.body.data as JsonMap).id);
    expect(held()).toHaveLength(1);
    expect(held()[0]).toMatchObject({ first_name: 'Ada', last_name: 'L' });
  });

  it('clears fields that are null', async () => {
    await importOne({
      email: 'ada@klaviyo-demo.com',
      first_name: 'Ada',
      properties: { a: 1, b: 2 },
    });
    await importOne({ email: 'ada@klaviyo-demo.com', first_name: null, properties: { a: null } });
    expect(held()).toEqual([{ email: 'ada@klaviyo-demo.com', properties: { b: 2 } }]);
  });

  it('patches properties with append, unappend and unset', async () => {
    const email = 'ada@klaviyo-demo.com';
    await importOne({ email, properties: { skus: ['a'], old: 1 } });
    await importOne(
      { email },
      { patch_properties: { append: { skus: ['b', 'c'] }, unset: 'old' } },
    );
    expect(held()[0]).toMatchObject({ properties: { skus: ['a', 'b', 'c'] } });
    await importOne({ email }, { patch_properties: { unappend: { skus: 'b' } } });
    expect(held()[0]).toEqual({ email, properties: { skus: ['a', 'c'] } });
  });

  it.each<[JsonMap, string]>([
    [{ remove: ['a'] }, '/data/meta/patch_properties/remove'],
    [{ append: ['a'] }, '/data/meta/patch_properties/append'],
    [{ unappend: 'a' }, '/data/meta/patch_properties/unappend'],
    [{ unset: { a: true } }, '/data/meta/patch_properties/unset'],
    [{ unset: ['a', 1] }, '/data/meta/patch_properties/unset'],
  ])('rejects %j for patch_properties', async (patch, pointer) => {
    const response = await importOne(
      { email: 'ada@klaviyo-demo.com' },
      { patch_properties: patch },
    );
    expect(response.status).toBe(400);
    expect(response.errors.map(({ source }) => source.pointer)).toEqual([pointer]);
  });

  it('reports issues below /data/attributes', async () => {
    const response = await importOne({ email: 'x', phone_number: 'y', plan: 'z' });
    expect(response.status).toBe(400);
    expect(response.errors.map(({ source }) => source.pointer)).toEqual([
      '/data/attributes/plan',
      '/data/attributes/email',
      '/data/attributes/phone_number',
    ]);
  });

  it('accepts 100 KB and rejects more', async () => {
    const sized = (bytes: number): JsonMap => ({
      external_id: 'c',
      properties: { a: 'x'.repeat(bytes) },
    });
    expect((await importOne(sized(99_900))).status).toBe(201);
    expect((await importOne(sized(100_000))).status).toBe(400);
  });

  it('rejects anonymous_id at late revisions', async () => {
    const body = toProfileImport({ email: 'ada@klaviyo-demo.com', anonymous_id: 'a' });
    expect(
      (await at.post('/api/profile-import', body, { revision: '2026-07-15' })).errors[0]?.detail,
    ).toBe("'anonymous_id' is not a valid field for the resource 'profile'.");
    expect((await at.post('/api/profile-import', body)).status).toBe(201);
  });

  it('responds normally to a test address and stores nothing', async () => {
    expect((await importOne({ email: 'ada@example.com' })).status).toBe(201);
    expect(held()).toEqual([]);
    expect(at.sandbox.state().counters).toMatchObject({ droppedTestAddress: 1, imported: 0 });
  });
});

describe('the identity of profiles', () => {
  it('merges profiles that one import names together, with their events', async () => {
    await importOne({ external_id: 'c1', first_name: 'Ada', properties: { a: 1, both: 'kept' } });
    await importOne({
      email: 'ada@klaviyo-demo.com',
      last_name: 'L',
      properties: { b: 2, both: 'x' },
    });
    await at.post(
      '/api/event-bulk-create-jobs',
      toBulkEvents([toWrapper({ email: 'ada@klaviyo-demo.com' })]),
    );
    const joined = await importOne({ external_id: 'c1', email: 'ada@klaviyo-demo.com' });
    expect(joined.status).toBe(200);
    const { profiles, events } = at.sandbox.state();
    expect(profiles).toHaveLength(1);
    expect(profiles[0]?.attributes).toEqual({
      external_id: 'c1',
      email: 'ada@klaviyo-demo.com',
      first_name: 'Ada',
      last_name: 'L',
      properties: { a: 1, b: 2, both: 'kept' },
    });
    expect(events[0]?.profileId).toBe(profiles[0]?.id);
  });

  it('follows a changed address and releases the old one', async () => {
    await importOne({ external_id: 'c1', email: 'old@klaviyo-demo.com' });
    await importOne({ external_id: 'c1', email: 'new@klaviyo-demo.com' });
    expect((await importOne({ email: 'new@klaviyo-demo.com' })).status).toBe(200);
    expect((await importOne({ email: 'old@klaviyo-demo.com' })).status).toBe(201);
  });

  it("includes Klaviyo's own id", async () => {
    const first = await importOne({ external_id: 'c1' });
    const { id } = first.body.data as { id: string };
    const again = await at.post('/api/profile-import', {
      data: { type: 'profile', id, attributes: { first_name: 'Ada' } },
    });
    expect(again.status).toBe(200);
    expect(held()).toEqual([{ external_id: 'c1', first_name: 'Ada' }]);
  });
});

describe('a bulk import', () => {
  it('gets a queued job, which runs by the clock', async () => {
    const response = await importMany(
      [{ email: 'ada@klaviyo-demo.com' }, { external_id: 'c2' }],
      ['Y6nRLr'],
    );
    expect(response.status).toBe(202);
    const { id } = response.body.data as { id: string };
    const look = async (): Promise<JsonMap> =>
      ((await at.get(`/api/profile-bulk-import-jobs/${id}`)).body.data as JsonMap)
        .attributes as JsonMap;
    expect(await look()).toMatchObject({
      status: 'queued',
      total_count: 2,
      completed_count: 0,
      started_at: null,
    });
    await at.clock.advance(150);
    expect(await look()).toMatchObject({ status: 'processing' });
    expect(held()).toEqual([]);
    await at.clock.advance(150);
    expect(await look()).toMatchObject({
      status: 'complete',
      total_count: 2,
      completed_count: 2,
      failed_count: 0,
      completed_at: '2026-11-01T12:00:00.300Z',
    });
    expect(held()).toEqual([{ email: 'ada@klaviyo-demo.com' }, { external_id: 'c2' }]);
    expect(at.sandbox.state().imports[0]).toMatchObject({ lists: ['Y6nRLr'], status: 'complete' });
  });

  it('does not clear fields that are null', async () => {
    await importAndWait([
      { email: 'ada@klaviyo-demo.com', first_name: 'Ada', properties: { a: 1 } },
    ]);
    await importAndWait([
      { email: 'ada@klaviyo-demo.com', first_name: null, properties: { a: null } },
    ]);
    expect(held()).toEqual([
      { email: 'ada@klaviyo-demo.com', first_name: 'Ada', properties: { a: 1 } },
    ]);
  });

  it('is rejected as a whole for one bad address and creates no job', async () => {
    const response = await importMany([
      { email: 'ada@klaviyo-demo.com' },
      { email: 'nobody' },
      { phone_number: '1', external_id: 'c', plan: 1 },
    ]);
    expect(response.status).toBe(400);
    expect(response.errors.map(({ source }) => source.pointer)).toEqual([
      '/data/attributes/profiles/data/1/attributes/email',
      '/data/attributes/profiles/data/2/attributes/plan',
      '/data/attributes/profiles/data/2/attributes/phone_number',
    ]);
    expect(at.sandbox.state().imports).toEqual([]);
  });

  it('accepts 10,000 profiles and rejects more', async () => {
    const many = Array.from({ length: 10_000 }, (_, index) => ({ external_id: `c${index}` }));
    expect((await importMany(many)).status).toBe(202);
    const response = await importMany([...many, { external_id: 'one more' }]);
    expect(response.status).toBe(400);
    expect(response.errors[0]?.source.pointer).toBe('/data/attributes/profiles/data');
  });

  it('is rejected for an invalid list', async () => {
    const response = await importMany([{ external_id: 'c' }], ['']);
    expect(response.status).toBe(400);
    expect(response.errors[0]?.source.pointer).toBe('/data/relationships/lists/data/0/id');
  });

  it('drops and counts the second profile of one identity', async () => {
    await importAndWait([
      { email: 'ada@klaviyo-demo.com', first_name: 'Ada' },
      { email: 'Ada@klaviyo-demo.com', first_name: 'Bo' },
    ]);
    expect(held()).toEqual([{ email: 'ada@klaviyo-demo.com', first_name: 'Ada' }]);
    expect(at.sandbox.state().counters).toMatchObject({ imported: 1, importDuplicates: 1 });
  });

  it('counts identities that are in two unfinished jobs', async () => {
    await importMany([{ email: 'ada@klaviyo-demo.com' }, { external_id: 'c1' }]);
    await importMany([{ email: 'ada@klaviyo-demo.com' }]);
    expect(at.sandbox.state().counters.importOverlaps).toBe(1);
    await at.clock.advance(300);
    await importMany([{ email: 'ada@klaviyo-demo.com' }]);
    expect(at.sandbox.state().counters.importOverlaps).toBe(1);
  });

  it('drops test addresses silently', async () => {
    await importAndWait([{ email: 'ada@test.com' }, { email: 'ada@klaviyo-demo.com' }]);
    const { imports, counters } = at.sandbox.state();
    expect(imports[0]).toMatchObject({ completed: 2, failed: 0 });
    expect(counters).toMatchObject({ imported: 1, silentlyDropped: 1 });
  });
});
