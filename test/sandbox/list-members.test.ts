import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { goodHeaders, startTestSandbox, toBulkProfiles, toMembers } from '../support/sandbox.js';
import type { SandboxResponse, SandboxUnderTest } from '../support/sandbox.js';

let at: SandboxUnderTest;
beforeEach(async () => {
  at = await startTestSandbox({ importDelayMs: 300 });
  const people = ['ada', 'bo', 'cleo'].map((name) => ({ external_id: name }));
  await at.post('/api/profile-bulk-import-jobs', toBulkProfiles(people, ['L1']));
  await at.clock.advance(300);
});
afterEach(() => at.sandbox.close());

const change = (method: 'POST' | 'DELETE', ids: readonly string[], list = 'L1') =>
  at.send(`/api/lists/${list}/relationships/profiles`, {
    method,
    headers: goodHeaders,
    body: JSON.stringify(toMembers(ids)),
  });
const ids = (): string[] => at.sandbox.state().profiles.map(({ id }) => id);
const members = (): string[] =>
  at.sandbox
    .state()
    .profiles.filter(({ lists }) => lists.includes('L1'))
    .map(({ who }) => who);
const brief = ({ status, errors }: SandboxResponse) => [
  status,
  errors.map(({ source }) => source.pointer),
];

describe('the members of a list', () => {
  it('are joined by the profiles of an import job when it completes', async () => {
    expect(members()).toEqual(['ada', 'bo', 'cleo']);
    await at.post(
      '/api/profile-bulk-import-jobs',
      toBulkProfiles([{ external_id: 'dan' }], ['L1']),
    );
    expect(members()).toHaveLength(3);
    await at.clock.advance(300);
    expect(members()).toContain('dan');
  });

  it('are removed and added by id with a 204 without a body', async () => {
    const [ada = '', bo = ''] = ids();
    const removed = await change('DELETE', [ada, bo]);
    expect([removed.status, removed.text]).toEqual([204, '']);
    expect(members()).toEqual(['cleo']);
    const added = await change('POST', [bo]);
    expect([added.status, added.text]).toEqual([204, '']);
    expect(members()).toEqual(['bo', 'cleo']);
    expect(at.sandbox.state().requests.at(-1)).toMatchObject({
      endpoint: 'list-members',
      count: 1,
    });
  });

  it('do not change if a profile is added twice, or removed though it is no member', async () => {
    const [ada = ''] = ids();
    expect((await change('POST', [ada])).status).toBe(204);
    await change('DELETE', [ada]);
    expect((await change('DELETE', [ada, 'none'])).status).toBe(204);
    expect(members()).toEqual(['bo', 'cleo']);
  });

  it('must exist to be added, and so must the list', async () => {
    const [ada = ''] = ids();
    await change('DELETE', [ada]);
    expect(brief(await change('POST', [ada, 'none']))).toEqual([404, ['/data/1/id']]);
    expect(members()).toEqual(['bo', 'cleo']);
    const response = await change('POST', [ada], 'L2');
    expect([response.status, response.errors[0]?.detail]).toEqual([
      404,
      'A list with id L2 does not exist.',
    ]);
  });

  it('are at most 1,000 a request, and at least one', async () => {
    const many = Array.from({ length: 1001 }, (_, index) => `p${index}`);
    expect(brief(await change('DELETE', many))).toEqual([400, ['/data']]);
    expect((await change('DELETE', many.slice(1))).status).toBe(204);
    expect(brief(await change('POST', []))).toEqual([400, ['/data']]);
  });

  it('are named by type and id alone', async () => {
    const response = await at.post('/api/lists/L1/relationships/profiles', {
      data: [{ type: 'profile', attributes: {} }],
    });
    expect(response.errors.map(({ detail }) => detail)).toEqual([
      "'id' is a required field for the resource 'profile'.",
      "'attributes' is not a valid field for the resource 'profile'.",
    ]);
  });
});
