import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  startTestSandbox,
  subscribed,
  toConsentJob,
  toSuppressionJob,
} from '../support/sandbox.js';
import type { JsonMap, SandboxResponse, SandboxUnderTest } from '../support/sandbox.js';

let at: SandboxUnderTest;
beforeEach(async () => {
  at = await startTestSandbox({ importDelayMs: 300 });
});
afterEach(() => at.sandbox.close());

const paths = {
  create: '/api/profile-suppression-bulk-create-jobs',
  delete: '/api/profile-suppression-bulk-delete-jobs',
};
const email = 'ada@klaviyo-demo.com';
const start = (
  action: 'create' | 'delete',
  emails: readonly unknown[],
  relationships?: JsonMap,
): Promise<SandboxResponse> =>
  at.post(paths[action], toSuppressionJob(action, emails, relationships));
const toId = ({ body }: SandboxResponse): string => (body.data as { id: string }).id;
const suppressions = () => at.sandbox.state().profiles.map(({ suppressions: all }) => all);
const toList = (id: string) => ({ list: { data: { type: 'list', id } } });

describe('a suppression job', () => {
  it('is queued, then processing, then complete, and suppresses when it completes', async () => {
    const response = await start('create', [email, 'bo@klaviyo-demo.com']);
    expect(response.status).toBe(202);
    expect(response.body.data).toMatchObject({
      type: 'profile-suppression-bulk-create-job',
      attributes: { status: 'queued', total_count: 2, completed_count: 0, completed_at: null },
    });
    const read = async (): Promise<unknown> =>
      (await at.get(`${paths.create}/${toId(response)}`)).body.data;
    await at.clock.advance(150);
    expect(await read()).toMatchObject({ attributes: { status: 'processing' } });
    expect(suppressions()).toEqual([]);
    await at.clock.advance(150);
    expect(await read()).toMatchObject({
      attributes: { status: 'complete', completed_count: 2, skipped_count: 0 },
    });
    const suppression = { reason: 'USER_SUPPRESSED', at: Date.UTC(2026, 10, 1, 12) + 300 };
    expect(suppressions()).toEqual([[suppression], [suppression]]);
    expect(at.sandbox.state().counters).toMatchObject({ suppressed: 2 });
  });

  it('leaves the consent of the profile and skips suppressed addresses', async () => {
    const subscriptions = { email: subscribed };
    await at.post(
      '/api/profile-subscription-bulk-create-jobs',
      toConsentJob('create', [{ email, subscriptions }]),
    );
    await start('create', [email]);
    const again = await start('create', [email]);
    await at.clock.advance(300);
    expect(at.sandbox.state().profiles).toMatchObject([
      { consent: { 'email.marketing': { status: 'SUBSCRIBED' } } },
    ]);
    const { data } = (await at.get(`${paths.create}/${toId(again)}`)).body;
    expect(data).toMatchObject({ attributes: { completed_count: 0, skipped_count: 1 } });
  });

  it('is undone by an unsuppression job, which skips addresses that are not suppressed', async () => {
    await start('create', [email]);
    const response = await start('delete', [email, 'nobody@klaviyo-demo.com']);
    await at.clock.advance(300);
    expect(suppressions()).toEqual([[]]);
    expect((await at.get(`${paths.delete}/${toId(response)}`)).body.data).toMatchObject({
      type: 'profile-suppression-bulk-delete-job',
      attributes: { total_count: 2, completed_count: 1, skipped_count: 1 },
    });
  });

  it('suppresses the members of a list', async () => {
    await at.post(
      '/api/profile-subscription-bulk-create-jobs',
      toConsentJob('create', [{ email, subscriptions: { email: subscribed } }], { listId: 'L1' }),
    );
    await at.clock.advance(300);
    expect((await start('create', [], toList('L1'))).status).toBe(202);
    await at.clock.advance(300);
    expect(suppressions()).toMatchObject([[{ reason: 'USER_SUPPRESSED' }]]);
  });

  it.each([
    ['no target', () => start('create', []), '/data'],
    ['two targets', () => start('create', [email], toList('L1')), '/data'],
    [
      'a list that does not exist',
      () => start('create', [], toList('L1')),
      '/data/relationships/list/data/id',
    ],
    [
      'a segment',
      () => start('delete', [], { segment: { data: { type: 'segment', id: 'S1' } } }),
      '/data/relationships/segment/data/id',
    ],
    [
      'a bad address',
      () => start('create', [email, 'nobody']),
      '/data/attributes/profiles/data/1/attributes/email',
    ],
    [
      'a missing address',
      () => start('delete', [undefined]),
      '/data/attributes/profiles/data/0/attributes/email',
    ],
    [
      'more than 100 addresses',
      () =>
        start(
          'create',
          Array.from({ length: 101 }, (_, index) => `p${index}@klaviyo-demo.com`),
        ),
      '/data/attributes/profiles/data',
    ],
  ])('is refused for %s', async (_what, send, pointer) => {
    const response = await send();
    expect(response.status).toBe(400);
    expect(response.errors.map(({ source }) => source.pointer)).toEqual([pointer]);
    expect(at.sandbox.state().suppressionJobs).toEqual([]);
  });

  it('names a missing or an unknown field as Klaviyo does', async () => {
    const body = toSuppressionJob('create', [email]);
    const { data } = (body as { data: { attributes: { profiles: { data: JsonMap[] } } } }).data
      .attributes.profiles;
    data[0]!.attributes = { phone_number: '+15005550006' };
    const response = await at.post(paths.create, body);
    expect(response.errors.map(({ detail }) => detail)).toEqual([
      "'email' is a required field for the resource 'profile'.",
      "'phone_number' is not a valid field for the resource 'profile'.",
    ]);
  });

  it('is listed by status and age, and a job that does not exist is a 404', async () => {
    const first = toId(await start('create', [email]));
    await at.clock.advance(300);
    const second = toId(await start('create', [email]));
    const ids = async (query: string): Promise<string[]> =>
      ((await at.get(`${paths.create}${query}`)).body.data as { id: string }[]).map(({ id }) => id);
    expect(await ids('')).toEqual([second, first]);
    expect(await ids('?sort=created')).toEqual([first, second]);
    expect(await ids('?filter=equals(status,"complete")')).toEqual([first]);
    expect(await ids('?filter=equals(list_id,"L1")')).toEqual([]);
    expect((await at.get(`${paths.create}?filter=any(status,["complete"])`)).status).toBe(400);
    expect((await at.get(`${paths.delete}/${first}`)).status).toBe(404);
  });

  it('accepts the parameter fields when it is created, from revision 2026-07-15 on', async () => {
    const path = `${paths.create}?fields[profile-suppression-bulk-create-job]=status`;
    const body = toSuppressionJob('create', [email]);
    expect((await at.post(path, body)).errors[0]?.source).toEqual({
      parameter: 'fields[profile-suppression-bulk-create-job]',
    });
    const response = await at.post(path, body, { revision: '2026-07-15' });
    expect((response.body.data as { attributes: JsonMap }).attributes).toEqual({
      status: 'queued',
    });
  });
});
