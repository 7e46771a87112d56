import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  startTestSandbox,
  toBulkEvents,
  toBulkProfiles,
  toDeletionJob,
  toProfileImport,
  toProfileMerge,
  toWrapper,
} from '../support/sandbox.js';
import type { JsonMap, SandboxResponse, SandboxUnderTest } from '../support/sandbox.js';

let at: SandboxUnderTest;
beforeEach(async () => {
  at = await startTestSandbox({ importDelayMs: 300 });
});
afterEach(() => at.sandbox.close());

const email = 'ada@klaviyo-demo.com';
const phone = '+15005550006';
const importOne = async (attributes: JsonMap): Promise<string> => {
  const response = await at.post('/api/profile-import', toProfileImport(attributes));
  return (response.body.data as { id: string }).id;
};
const erase = (attributes: JsonMap, id?: string): Promise<SandboxResponse> =>
  at.post('/api/data-privacy-deletion-jobs', toDeletionJob(attributes, id));
const names = (): string[] => at.sandbox.state().profiles.map(({ who }) => who);

describe('a data privacy deletion job', () => {
  it('gets a 202 without a body and removes profile, events and memberships after a moment', async () => {
    const people = [{ email }, { email: 'bo@klaviyo-demo.com' }];
    await at.post('/api/profile-bulk-import-jobs', toBulkProfiles(people, ['L1']));
    await at.clock.advance(300);
    await at.post('/api/event-bulk-create-jobs', toBulkEvents(people.map((one) => toWrapper(one))));
    const response = await erase({ email });
    expect([response.status, response.text]).toEqual([202, '']);
    expect(names()).toHaveLength(2);
    await at.clock.advance(300);
    const { events, deletions, counters } = at.sandbox.state();
    expect(names()).toEqual(['bo@klaviyo-demo.com']);
    expect(events.map(({ who }) => who)).toEqual(['bo@klaviyo-demo.com']);
    expect(deletions).toMatchObject([{ status: 'complete', deleted: 1 }]);
    expect(JSON.stringify(deletions)).not.toContain(email);
    expect(counters).toMatchObject({ deleted: 1, recorded: 2 });
    const members = await at.get('/api/lists/L1/profiles');
    expect(members.body.data).toHaveLength(1);
    const [job] = at.sandbox.state().imports;
    const imported = await at.get(`/api/profile-bulk-import-jobs/${job!.id}/profiles`);
    expect(imported.body.data).toHaveLength(1);
  });

  it('finds the profile by phone number or id too, and a new profile gets a new id', async () => {
    const first = await importOne({ phone_number: phone });
    await erase({ phone_number: phone });
    await at.clock.advance(300);
    const second = await importOne({ phone_number: phone });
    expect(second).not.toBe(first);
    await erase({}, second);
    await at.clock.advance(300);
    expect(names()).toEqual([]);
  });

  it('gets a 202 if nobody matches', async () => {
    expect((await erase({ email })).status).toBe(202);
    await at.clock.advance(300);
    expect(at.sandbox.state().deletions).toMatchObject([{ deleted: 0 }]);
  });

  it.each([
    [{}, undefined],
    [{ email, phone_number: phone }, undefined],
    [{ email }, 'some-id'],
    [{ email: null, phone_number: null }, undefined],
  ])('is refused unless it has exactly one identifier: %j %s', async (attributes, id) => {
    const response = await erase(attributes, id);
    expect(response.status).toBe(400);
    expect(response.errors).toMatchObject([
      {
        detail: 'Exactly one of email, phone_number and id is required.',
        source: { pointer: '/data/attributes/profile/data' },
      },
    ]);
  });

  it('is refused for an invalid or unknown identifier', async () => {
    expect((await erase({ email: 'nobody' })).errors[0]?.source.pointer).toBe(
      '/data/attributes/profile/data/attributes/email',
    );
    expect((await erase({ external_id: 'c1' })).errors[0]?.detail).toBe(
      "'external_id' is not a valid field for the resource 'profile'.",
    );
  });
});

describe('a profile merge', () => {
  const merge = (destination: string, sources: readonly string[]): Promise<SandboxResponse> =>
    at.post('/api/profile-merge', toProfileMerge(destination, sources));

  it('responds with the profile that remains and merges after a moment', async () => {
    const ada = await importOne({ email, first_name: 'Ada' });
    const other = await importOne({ external_id: 'c1', first_name: 'A', last_name: 'L' });
    const response = await merge(ada, [other]);
    expect(response.status).toBe(201);
    expect(response.body.data).toMatchObject({ type: 'profile', id: ada });
    expect(names()).toHaveLength(2);
    await at.clock.advance(300);
    expect(at.sandbox.state().profiles).toMatchObject([
      { id: ada, attributes: { email, external_id: 'c1', first_name: 'Ada', last_name: 'L' } },
    ]);
    expect(await importOne({ external_id: 'c1' })).toBe(ada);
  });

  it('is refused for several sources, for itself, and for a profile that does not exist', async () => {
    const ada = await importOne({ email });
    expect((await merge(ada, ['a', 'b'])).errors[0]?.source.pointer).toBe(
      '/data/relationships/profiles/data',
    );
    expect((await merge(ada, [ada])).status).toBe(400);
    expect((await merge(ada, ['none'])).status).toBe(404);
    expect((await merge('none', [ada])).status).toBe(404);
  });
});
