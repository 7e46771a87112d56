import { afterEach, describe, expect, it } from 'vitest';
import type { SandboxOptions } from '../../src/sandbox/sandbox.js';
import {
  startTestSandbox,
  subscribed,
  toBulkProfiles,
  toConsentJob,
  toProfileImport,
  toSuppressionJob,
  unsubscribed,
} from '../support/sandbox.js';
import type { JsonMap, SandboxResponse, SandboxUnderTest } from '../support/sandbox.js';

let at: SandboxUnderTest;
const start = async (options?: Partial<SandboxOptions>): Promise<void> => {
  at = await startTestSandbox({ importDelayMs: 300, ...options });
};
afterEach(() => at.sandbox.close());

const email = 'ada@klaviyo-demo.com';
const phone = '+15005550006';
const old = { revision: '2024-10-15' };
const latest = { revision: '2026-07-15' };
const now = Date.UTC(2026, 10, 1, 12);

type Options = JsonMap & { readonly listId?: string };
const subscribe = (
  profiles: readonly JsonMap[],
  options: Options = {},
  headers: Record<string, string> = latest,
): Promise<SandboxResponse> =>
  at.post(
    '/api/profile-subscription-bulk-create-jobs',
    toConsentJob('create', profiles, options),
    headers,
  );
const unsubscribe = (
  profiles: readonly JsonMap[],
  options: Options = {},
  headers: Record<string, string> = latest,
): Promise<SandboxResponse> =>
  at.post(
    '/api/profile-subscription-bulk-delete-jobs',
    toConsentJob('delete', profiles, options),
    headers,
  );
const profiles = () => at.sandbox.state().profiles;
const pointers = ({ errors }: SandboxResponse) => errors.map(({ source }) => source.pointer);
const details = ({ errors }: SandboxResponse) => errors.map(({ detail }) => detail);
const toPointer = (rest: string): string => `/data/attributes/profiles/data/0/attributes${rest}`;

describe('a subscription job', () => {
  it('gets a 202 without a body and takes effect when it completes', async () => {
    await start();
    const response = await subscribe([{ email, subscriptions: { email: subscribed } }]);
    expect([response.status, response.text]).toEqual([202, '']);
    expect(profiles()).toEqual([]);
    await at.clock.advance(300);
    expect(profiles()).toMatchObject([
      {
        attributes: { email },
        consent: { 'email.marketing': { status: 'SUBSCRIBED', consentedAt: now + 300 } },
        lists: [],
      },
    ]);
    expect(at.sandbox.state().counters).toMatchObject({ subscribed: 1 });
  });

  it('grants every consent that it names and adds its profiles to the list', async () => {
    await start();
    const both = { ...subscribed, transactional: { consent: 'SUBSCRIBED' } };
    const subscriptions = {
      email: { ...subscribed, open_tracking: { consent: 'SUBSCRIBED' } },
      sms: both,
      whatsapp: both,
      push: subscribed,
    };
    const person = { email, phone_number: phone, subscriptions };
    expect((await subscribe([person], { listId: 'Y6nRLr' })).status).toBe(202);
    await at.clock.advance(300);
    expect(Object.keys(profiles()[0]!.consent)).toEqual([
      'email.marketing',
      'email.open_tracking',
      'sms.marketing',
      'sms.transactional',
      'whatsapp.marketing',
      'whatsapp.transactional',
      'push.marketing',
    ]);
    expect(profiles()[0]).toMatchObject({ lists: ['Y6nRLr'], attributes: { phone_number: phone } });
  });

  it('sets an identifier of a channel that it does not name and grants nothing there', async () => {
    await start();
    await subscribe([{ email, phone_number: phone, subscriptions: { email: subscribed } }]);
    await at.clock.advance(300);
    expect(profiles()[0]?.attributes).toEqual({ email, phone_number: phone });
    expect(Object.keys(profiles()[0]!.consent)).toEqual(['email.marketing']);
  });

  it('subscribes the profile with the given id', async () => {
    await start();
    const made = await at.post('/api/profile-import', toProfileImport({ external_id: 'c1' }));
    const { id } = made.body.data as { id: string };
    const job = toConsentJob('create', [{ email, subscriptions: { email: subscribed } }]);
    const { data } = (job as { data: { attributes: { profiles: { data: JsonMap[] } } } }).data
      .attributes.profiles;
    data[0]!.id = id;
    expect((await at.post('/api/profile-subscription-bulk-create-jobs', job, latest)).status).toBe(
      202,
    );
    await at.clock.advance(300);
    expect(profiles()).toMatchObject([{ id, attributes: { external_id: 'c1', email } }]);
  });

  it('is refused as a whole for one bad phone number, with a pointer to it', async () => {
    await start();
    const response = await subscribe([
      { email, subscriptions: { email: subscribed } },
      { phone_number: '12', subscriptions: { sms: subscribed } },
      { email: 'nobody', subscriptions: { email: subscribed } },
    ]);
    expect(response.status).toBe(400);
    expect(response.errors.map(({ detail, source }) => [source.pointer, detail])).toEqual([
      [
        '/data/attributes/profiles/data/1/attributes/phone_number',
        'Invalid phone number format (Example of a valid format: +12345678901)',
      ],
      ['/data/attributes/profiles/data/2/attributes/email', 'Invalid email address'],
    ]);
    await at.clock.advance(300);
    expect(profiles()).toEqual([]);
  });

  it('is refused without the identifier of a channel that it names', async () => {
    await start();
    const response = await subscribe([
      { email, subscriptions: { email: subscribed, sms: subscribed } },
    ]);
    expect(response.status).toBe(400);
    expect(details(response)).toEqual([
      "'phone_number' must not be empty when the sms channel is included in 'subscriptions'.",
    ]);
    expect(pointers(response)).toEqual([toPointer('/phone_number')]);
  });

  it('is refused for fields that a subscription does not have', async () => {
    await start();
    const response = await subscribe([
      { email, first_name: 'Ada', subscriptions: { email: subscribed, fax: subscribed } },
    ]);
    expect(details(response)).toEqual([
      "'first_name' is not a valid field for the resource 'profile'.",
      "'fax' is not a valid field for the resource 'profile'.",
    ]);
    expect(pointers(response)).toEqual([toPointer('/first_name'), toPointer('/subscriptions/fax')]);
  });

  it.each([
    [{ email: {} }, '/subscriptions/email'],
    [{}, '/subscriptions'],
    [
      { email: { marketing: { consent: 'UNSUBSCRIBED' } } },
      '/subscriptions/email/marketing/consent',
    ],
    [{ email: { marketing: {} } }, '/subscriptions/email/marketing/consent'],
    [{ email: { transactional: { consent: 'SUBSCRIBED' } } }, '/subscriptions/email/transactional'],
    [{ email: 'SUBSCRIBED' }, '/subscriptions/email'],
    [null, '/subscriptions'],
  ])('is refused for the subscriptions %j', async (subscriptions, pointer) => {
    await start();
    const response = await subscribe([{ email, subscriptions }]);
    expect(response.status).toBe(400);
    expect(pointers(response)).toContain(toPointer(pointer));
  });

  it('is refused without any identifier', async () => {
    await start();
    const response = await subscribe([{ subscriptions: { push: subscribed } }]);
    expect(pointers(response)).toEqual([toPointer('')]);
    const push = { ...subscribed, anonymous_id: 'device-1' };
    expect((await subscribe([{ subscriptions: { push } }])).status).toBe(202);
  });

  it('may omit subscriptions before revision 2025-01-15 and must not since', async () => {
    await start();
    const person = { email, phone_number: phone };
    const late = await subscribe([person], {}, { revision: '2025-01-15' });
    expect(details(late)).toEqual([
      "'subscriptions' is a required field for the resource 'profile'.",
    ]);
    expect((await subscribe([person], {}, old)).status).toBe(202);
    await at.clock.advance(300);
    expect(Object.keys(profiles()[0]!.consent)).toEqual(['email.marketing', 'sms.marketing']);
  });

  it.each([
    ['whatsapp', '2025-07-15', '2025-10-15'],
    ['push', '2026-01-15', '2026-04-15'],
  ])('accepts the channel %s from its revision on', async (channel, before, since) => {
    await start();
    const person = { phone_number: phone, subscriptions: { [channel]: subscribed } };
    expect(pointers(await subscribe([person], {}, { revision: before }))).toContain(
      toPointer(`/subscriptions/${channel}`),
    );
    expect((await subscribe([person], {}, { revision: since })).status).toBe(202);
  });

  it('accepts 1,000 profiles and rejects more', async () => {
    await start();
    const many = Array.from({ length: 1001 }, (_, index) => ({
      email: `p${index}@klaviyo-demo.com`,
      subscriptions: { email: subscribed },
    }));
    expect((await subscribe(many.slice(1))).status).toBe(202);
    const response = await subscribe(many);
    expect([response.status, pointers(response)]).toEqual([
      400,
      ['/data/attributes/profiles/data'],
    ]);
    expect(at.sandbox.state().requests.map(({ count }) => count)).toEqual([1000, 1001]);
  });

  it('drops test addresses silently', async () => {
    await start();
    await subscribe([{ email: 'ada@example.com', subscriptions: { email: subscribed } }]);
    await at.clock.advance(300);
    expect(profiles()).toEqual([]);
    expect(at.sandbox.state().counters).toMatchObject({ droppedTestAddress: 1, subscribed: 0 });
  });
});

describe('a historical import of consent', () => {
  const consentOf = (consented_at?: unknown): JsonMap => ({
    email,
    subscriptions: { email: { marketing: { consent: 'SUBSCRIBED', consented_at } } },
  });
  const historical = { historical_import: true, custom_source: 'Old shop' };

  it('keeps the time and the source of the consent', async () => {
    await start();
    expect((await subscribe([consentOf('2024-05-01T10:00:00Z')], historical)).status).toBe(202);
    await at.clock.advance(300);
    expect(profiles()[0]?.consent['email.marketing']).toMatchObject({
      consentedAt: Date.UTC(2024, 4, 1, 10),
      source: 'Old shop',
    });
  });

  it.each([undefined, null, '2026-11-01T12:00:01Z', '2024-05-01', '2024-05-01T10:00:00', 'x'])(
    'is refused with the time %s',
    async (time) => {
      await start();
      const response = await subscribe([consentOf(time)], historical);
      expect(response.status).toBe(400);
      expect(details(response)).toEqual([
        'Historical email subscription does not have a valid consented_at timestamp.',
      ]);
      expect(pointers(response)).toEqual([
        toPointer('/subscriptions/email/marketing/consented_at'),
      ]);
    },
  );

  it('is needed for a time of consent', async () => {
    await start();
    const response = await subscribe([consentOf('2024-05-01T10:00:00Z')]);
    expect(response.status).toBe(400);
    expect(pointers(response)).toEqual([toPointer('/subscriptions/email/marketing/consented_at')]);
  });
});

describe('a list with double opt-in', () => {
  const listId = 'DOUBLE';
  const person = (marketing: JsonMap = {}): JsonMap => ({
    email,
    subscriptions: { email: { marketing: { consent: 'SUBSCRIBED', ...marketing } } },
  });

  it('subscribes nobody without a confirmation', async () => {
    await start({ doubleOptInLists: [listId] });
    expect((await subscribe([person()], { listId })).status).toBe(202);
    await at.clock.advance(300);
    expect(profiles()).toEqual([]);
    expect(at.sandbox.state().counters).toMatchObject({ awaitingOptIn: 1, subscribed: 0 });
    const list = await at.get(`/api/lists/${listId}`);
    expect(list.body.data).toMatchObject({ attributes: { opt_in_process: 'double_opt_in' } });
  });

  it('is bypassed by a historical import', async () => {
    await start({ doubleOptInLists: [listId] });
    const past = { consented_at: '2024-05-01T10:00:00Z' };
    await subscribe([person(past)], { listId, historical_import: true });
    await at.clock.advance(300);
    expect(profiles()).toMatchObject([{ lists: [listId] }]);
  });
});

describe('an unsubscription job', () => {
  const subscribeBoth = async (listId?: string): Promise<void> => {
    const subscriptions = { email: subscribed, sms: subscribed };
    const person = { email, phone_number: phone, subscriptions };
    await subscribe([person], { ...(listId !== undefined && { listId }) });
    await at.clock.advance(300);
  };
  const statuses = () =>
    Object.entries(profiles()[0]!.consent).map(([type, { status }]) => `${type} ${status}`);

  it('without a list unsubscribes the channel globally and suppresses the address', async () => {
    await start();
    await subscribeBoth('Y6nRLr');
    const response = await unsubscribe([{ email, subscriptions: { email: unsubscribed } }]);
    expect([response.status, response.text]).toEqual([202, '']);
    await at.clock.advance(300);
    expect(statuses()).toEqual(['email.marketing UNSUBSCRIBED', 'sms.marketing SUBSCRIBED']);
    expect(profiles()[0]).toMatchObject({
      suppressions: [{ reason: 'UNSUBSCRIBE' }],
      lists: ['Y6nRLr'],
    });
  });

  it('with a list takes its members off that list and leaves their consent', async () => {
    await start();
    await subscribeBoth('Y6nRLr');
    await unsubscribe([{ email, subscriptions: { email: unsubscribed } }], { listId: 'Y6nRLr' });
    await at.clock.advance(300);
    expect(statuses()).toEqual(['email.marketing SUBSCRIBED', 'sms.marketing SUBSCRIBED']);
    expect(profiles()[0]).toMatchObject({
      suppressions: [],
      listSuppressions: [{ listId: 'Y6nRLr', reason: 'UNSUBSCRIBE' }],
      lists: [],
    });
  });

  it('with a list unsubscribes a profile that is not on it globally', async () => {
    await start();
    await subscribeBoth();
    await unsubscribe([{ email, subscriptions: { email: unsubscribed } }], { listId: 'Other' });
    await at.clock.advance(300);
    expect(statuses()).toEqual(['email.marketing UNSUBSCRIBED', 'sms.marketing SUBSCRIBED']);
  });

  it('remembers an unsubscription of an unknown person', async () => {
    await start();
    await unsubscribe([{ email, subscriptions: { email: unsubscribed } }]);
    await at.clock.advance(300);
    expect(statuses()).toEqual(['email.marketing UNSUBSCRIBED']);
  });

  it('accepts 100 profiles and rejects more', async () => {
    await start();
    const many = Array.from({ length: 101 }, (_, index) => ({
      email: `p${index}@klaviyo-demo.com`,
      subscriptions: { email: unsubscribed },
    }));
    expect((await unsubscribe(many.slice(1))).status).toBe(202);
    expect((await unsubscribe(many)).errors[0]?.detail).toBe(
      'The maximum number of profiles per request is 100.',
    );
  });

  it('accepts UNSUBSCRIBED alone, and conversational WhatsApp', async () => {
    await start();
    const wrong = await unsubscribe([{ email, subscriptions: { email: subscribed } }]);
    expect(details(wrong)).toEqual(["'consent' must be 'UNSUBSCRIBED'."]);
    const whatsapp = { conversational: { consent: 'UNSUBSCRIBED' } };
    const person = { phone_number: phone, subscriptions: { whatsapp } };
    expect((await unsubscribe([person])).status).toBe(202);
  });

  it('needs the tokens of the channel push', async () => {
    await start();
    const token = { token: 't', platform: 'ios', vendor: 'apns' };
    const personWith = (push: JsonMap) => [{ email, subscriptions: { push } }];
    expect(pointers(await unsubscribe(personWith(unsubscribed)))).toEqual([
      toPointer('/subscriptions/push/tokens'),
    ]);
    const bad = await unsubscribe(
      personWith({ ...unsubscribed, tokens: [{ ...token, vendor: 'x' }] }),
    );
    expect(pointers(bad)).toEqual([toPointer('/subscriptions/push/tokens/0/vendor')]);
    expect((await unsubscribe(personWith({ ...unsubscribed, tokens: [token] }))).status).toBe(202);
  });

  it('is followed by a new subscription, which lifts the suppression', async () => {
    await start();
    await unsubscribe([{ email, subscriptions: { email: unsubscribed } }]);
    await at.post(
      '/api/profile-suppression-bulk-create-jobs',
      toSuppressionJob('create', [email]),
      latest,
    );
    await at.clock.advance(300);
    expect(profiles()[0]?.suppressions).toHaveLength(2);
    await subscribe([{ email, subscriptions: { email: subscribed } }]);
    await at.clock.advance(300);
    expect(profiles()[0]).toMatchObject({
      suppressions: [],
      consent: { 'email.marketing': { status: 'SUBSCRIBED' } },
    });
  });
});

describe('the subscriptions of a profile', () => {
  const read = async (headers: Record<string, string> = latest): Promise<JsonMap> => {
    const query = 'additional-fields[profile]=subscriptions';
    const [first] = (await at.get(`/api/profiles?${query}`, headers)).body.data as {
      attributes: { subscriptions: JsonMap };
    }[];
    return first!.attributes.subscriptions;
  };

  it('show consent, suppressions and what the person can receive', async () => {
    await start();
    const sms = { ...subscribed, transactional: { consent: 'SUBSCRIBED' } };
    const person = { email, phone_number: phone, subscriptions: { email: subscribed, sms } };
    await subscribe([person], { listId: 'Y6nRLr', custom_source: 'Footer' });
    await at.clock.advance(300);
    expect(await read()).toMatchObject({
      email: {
        marketing: {
          can_receive_email_marketing: true,
          consent: 'SUBSCRIBED',
          consent_timestamp: '2026-11-01T12:00:00.300Z',
          custom_method_detail: 'Footer',
          suppression: [],
        },
        open_tracking: { consent: 'NEVER_SUBSCRIBED' },
      },
      sms: {
        marketing: { can_receive_sms_marketing: true, consent: 'SUBSCRIBED' },
        transactional: { can_receive_sms_transactional: true, consent: 'SUBSCRIBED' },
      },
      mobile_push: { marketing: { consent: 'NEVER_SUBSCRIBED' } },
      whatsapp: null,
    });
    await unsubscribe([{ email, subscriptions: { email: unsubscribed } }]);
    await at.clock.advance(300);
    expect((await read()).email).toMatchObject({
      marketing: {
        can_receive_email_marketing: false,
        consent: 'UNSUBSCRIBED',
        suppression: [{ reason: 'UNSUBSCRIBE', timestamp: '2026-11-01T12:00:00.600Z' }],
      },
    });
  });

  it('leave out channels that the revision does not have', async () => {
    await start();
    await subscribe([{ phone_number: phone, subscriptions: { whatsapp: subscribed } }]);
    await at.clock.advance(300);
    expect((await read()).whatsapp).toMatchObject({
      marketing: { consent: 'SUBSCRIBED', can_receive: true, phone_number: phone },
    });
    expect(Object.keys(await read(old))).toEqual(['email', 'sms', 'mobile_push']);
  });

  it('belong to the profile that remains after a merge', async () => {
    await start();
    await subscribe([{ email, subscriptions: { email: subscribed } }], { listId: 'Y6nRLr' });
    await at.post(
      '/api/profile-bulk-import-jobs',
      toBulkProfiles([{ external_id: 'c1' }], ['Other']),
    );
    await at.clock.advance(300);
    await at.post('/api/profile-import', toProfileImport({ external_id: 'c1', email }));
    expect(profiles()).toMatchObject([
      {
        attributes: { external_id: 'c1' },
        consent: { 'email.marketing': { status: 'SUBSCRIBED' } },
        lists: ['Y6nRLr', 'Other'],
      },
    ]);
  });

  it('filter profiles by suppression', async () => {
    await start();
    const people = ['ada', 'bo'].map((name) => ({
      email: `${name}@klaviyo-demo.com`,
      subscriptions: { email: subscribed },
    }));
    await subscribe(people, { listId: 'Y6nRLr' });
    await at.clock.advance(300);
    await unsubscribe([{ ...people[0], subscriptions: { email: unsubscribed } }]);
    await unsubscribe([{ ...people[1], subscriptions: { email: unsubscribed } }], {
      listId: 'Y6nRLr',
    });
    await at.clock.advance(300);
    const found = async (filter: string): Promise<unknown[]> => {
      const response = await at.get(`/api/profiles?filter=${encodeURIComponent(filter)}`, latest);
      return (response.body.data as { attributes: JsonMap }[]).map(
        ({ attributes }) => attributes.email,
      );
    };
    const marketing = 'subscriptions.email.marketing';
    expect(await found(`equals(${marketing}.suppression.reason,"UNSUBSCRIBE")`)).toEqual([
      'ada@klaviyo-demo.com',
    ]);
    expect(await found(`equals(${marketing}.list_suppressions.list_id,"Y6nRLr")`)).toEqual([
      'bo@klaviyo-demo.com',
    ]);
    expect(await found(`equals(${marketing}.list_suppressions.list_id,"Other")`)).toEqual([]);
  });
});
