import { describe, expect, it } from 'vitest';
import { parseMapping } from '../../../src/sources/mapping/mapping.js';
import { createPipeline } from '../pipeline.js';
import { readElement, readGroup } from '../../../src/model/group.js';
import type { Draft } from '../../../src/model/envelope.js';

const email = 'ada@klaviyo-demo.com';
const phone = '+12025550123';
const timestamp = '2026-01-10T09:30:00.000Z';
const rules = {
  list: 'Y6nRLr',
  email: true,
  sms: true,
  lists: ['XUepkK'],
  groups: { newsletter: 'NewsLt' },
  categories: ['marketing', 'C0004'],
};

function pipelineWith(consent: unknown) {
  const checked = parseMapping({ segment: { consent } });
  if (!checked.ok) throw new Error(JSON.stringify(checked.errors));
  return createPipeline({}, checked.value);
}

/** What Klaviyo would get of a decision: lane, list, identifiers and channels; or the reason of a dead letter. */
function describeDecision({ lane, payload, deadLetterReason }: Draft): string {
  if (deadLetterReason !== undefined) return `${lane} ${deadLetterReason.code}`;
  if (lane === 'waiting') return lane;
  const { attributes } = JSON.parse(Buffer.from(readElement(payload)).toString()) as {
    attributes: { email?: string; phone_number?: string; subscriptions: object };
  };
  const who = [attributes.email, attributes.phone_number].filter((each) => each !== undefined);
  const [list] = readGroup(payload).split(';');
  return [
    lane,
    list === '' ? 'everywhere' : list,
    ...who,
    ...Object.keys(attributes.subscriptions),
  ].join(' ');
}

/** The decisions of calls, and the reasons of skips and warnings. */
async function decide(consent: unknown, ...calls: readonly object[]) {
  const pipeline = pipelineWith(consent);
  const accepted = await pipeline.send('segment', { path: '/v1/batch', body: { batch: calls } });
  expect(accepted?.kind).toBe('accepted');
  const reasons = pipeline
    .activity()
    .filter(({ outcome }) => outcome === 'skipped' || outcome === 'altered')
    .map(({ reason }) => reason);
  const decisions = pipeline.drafts.filter(({ lane }) => lane !== 'profiles' && lane !== 'events');
  return [...decisions.map(describeDecision), ...reasons];
}

const anIdentify = (traits: object, others: object = {}): object => ({
  type: 'identify',
  userId: '42',
  messageId: 'm-1',
  timestamp,
  traits: { email, ...traits },
  ...others,
});

describe('an identify call', () => {
  it.each([
    [
      'in traits.properties, as RudderStack documents it',
      { properties: { subscribe: true, listId: 'XUepkK', consent: ['email', 'sms'] }, phone },
      {},
    ],
    ['in traits', { subscribe: true, listId: 'XUepkK', consent: ['email', 'sms'], phone }, {}],
    [
      'in integrations.Klaviyo',
      { phone },
      {
        integrations: { Klaviyo: { subscribe: true, listId: 'XUepkK', consent: ['email', 'sms'] } },
      },
    ],
    [
      'with smsConsent, of the old API',
      {
        phone,
        properties: { subscribe: true, listId: 'XUepkK', consent: 'email', smsConsent: true },
      },
      {},
    ],
  ])(
    'subscribes each named channel to the named list, with the signal %s',
    async (_, traits, others) => {
      expect(await decide(rules, anIdentify(traits, others))).toEqual([
        `subscribe XUepkK ${email} email`,
        `subscribe XUepkK ${phone} sms`,
      ]);
    },
  );

  it('without channels subscribes to e-mail alone, also if SMS is on and the number is known', async () => {
    expect(await decide(rules, anIdentify({ subscribe: true, phone }))).toEqual([
      `subscribe Y6nRLr ${email} email`,
    ]);
  });

  it('without channels that refuses unsubscribes each channel that it has an address of', async () => {
    expect(await decide(rules, anIdentify({ subscribe: false, phone }))).toEqual([
      `unsubscribe Y6nRLr ${email} email`,
      `unsubscribe Y6nRLr ${phone} sms`,
    ]);
  });

  it('with two answers counts as a refusal', async () => {
    const integrations = { Klaviyo: { subscribe: true } };
    expect(await decide(rules, anIdentify({ subscribe: false }, { integrations }))).toEqual([
      `unsubscribe Y6nRLr ${email} email`,
    ]);
  });

  it('that refuses unknown channels refuses all', async () => {
    expect(await decide(rules, anIdentify({ subscribe: false, consent: ['fax'] }))).toEqual([
      `unsubscribe Y6nRLr ${email} email`,
    ]);
  });

  it.each([
    [
      'subscribe is absent, as in a profile that is saved again',
      { listId: 'XUepkK', consent: ['email'] },
    ],
    ['subscribe is neither true nor false', { subscribe: 1 }],
    ['its channels are none of the relay', { subscribe: true, consent: ['push'] }],
  ])('subscribes nobody if %s', async (_, traits) => {
    expect(await decide(rules, anIdentify(traits))).toEqual(['consent_not_sent']);
  });

  it('is counted, and leaves no property, if consents are off', async () => {
    const pipeline = pipelineWith(null);
    const body = { batch: [anIdentify({ subscribe: true, plan: 'gold' })] };
    await pipeline.send('segment', { path: '/v1/batch', body });
    expect(pipeline.drafts.map(({ lane }) => lane)).toEqual(['profiles']);
    const [profile] = pipeline.drafts;
    expect(Buffer.from(profile?.payload ?? []).toString()).not.toContain('subscribe');
    expect(pipeline.activity()).toContainEqual(
      expect.objectContaining({ outcome: 'skipped', reason: 'email_consent_off', example: 'm-1' }),
    );
  });

  it('joins no list that the mapping file does not have', async () => {
    expect(await decide(rules, anIdentify({ subscribe: true, listId: 'Other1' }))).toEqual([
      'list_off',
    ]);
  });

  it('with an unusable number loses only the consent to SMS', async () => {
    const traits = { phone: 'call me', subscribe: true, consent: ['email', 'sms'] };
    expect(await decide(rules, anIdentify(traits))).toEqual([
      `subscribe Y6nRLr ${email} email`,
      'subscribe not_valid',
      'phone_unusable',
    ]);
  });

  it('reads the number of an SMS consent with the country of the traits', async () => {
    const traits = {
      phone: '(202) 555-0123',
      address: { country: 'US' },
      subscribe: true,
      consent: ['sms'],
    };
    expect(await decide(rules, anIdentify(traits))).toEqual([`subscribe Y6nRLr ${phone} sms`]);
  });
});

describe('a group call', () => {
  const aGroup = (fields: object = {}): object => ({
    type: 'group',
    userId: '42',
    messageId: 'g-1',
    groupId: 'newsletter',
    traits: { subscribe: true },
    timestamp,
    ...fields,
  });

  it('subscribes the user of an earlier identify call to the list of its group', async () => {
    expect(await decide(rules, anIdentify({}), aGroup())).toEqual([
      `subscribe NewsLt ${email} email`,
    ]);
    const refusal = aGroup({ traits: { subscribe: false } });
    expect(await decide(rules, anIdentify({}), refusal)).toEqual([
      `unsubscribe NewsLt ${email} email`,
    ]);
  });

  it('of an unknown user does not become a subscription', async () => {
    expect(await decide(rules, aGroup())).toEqual(['subscribe unknown_person']);
  });

  it.each([
    ['its group has no list in the mapping file', rules, { groupId: 'acme' }, 'group'],
    ['it is no subscription', rules, { traits: { name: 'Acme' } }, 'group'],
    ['consents are off', null, {}, 'email_consent_off'],
  ])('is counted as skipped if %s', async (_, consent, fields, reason) => {
    expect(await decide(consent, aGroup(fields))).toEqual([reason]);
  });
});

describe('a call of a person who refused', () => {
  const track = (context: object): object => ({
    type: 'track',
    event: 'Viewed',
    userId: '42',
    context: { traits: { email }, ...context },
  });

  it.each([
    [
      "a category of Segment's consent management",
      { consent: { categoryPreferences: { marketing: false, functional: true } } },
    ],
    [
      "a category of RudderStack's",
      {
        consentManagement: {
          deniedConsentIds: ['C0004'],
          allowedConsentIds: ['C0001'],
          provider: 'oneTrust',
        },
      },
    ],
  ])('%s is counted and not sent', async (_, context) => {
    const pipeline = pipelineWith(rules);
    const batch = [track(context), anIdentify({ subscribe: true }, { context })];
    await pipeline.send('segment', { path: '/v1/batch', body: { batch } });
    expect(pipeline.drafts).toEqual([]);
    expect(pipeline.activity()).toMatchObject([
      { kind: 'identify', reason: 'consent_refused', count: 2 },
      { kind: 'track', reason: 'consent_refused', count: 1 },
    ]);
  });

  it.each([
    [
      'another category',
      { consent: { categoryPreferences: { advertising: false, marketing: true } } },
    ],
    [
      'nothing that can be read',
      {
        consent: { categoryPreferences: 'none' },
        consentManagement: { deniedConsentIds: 'C0004' },
      },
    ],
  ])('%s is sent', async (_, context) => {
    const pipeline = pipelineWith(rules);
    await pipeline.send('segment', { path: '/v1/batch', body: { batch: [track(context)] } });
    expect(pipeline.drafts.map(({ lane }) => lane)).toEqual(['events']);
  });
});

describe('the options fieldsToUnset, fieldsToAppend and fieldsToUnappend', () => {
  /** The payload of the only draft, and the warnings. */
  async function send(options: object, traits: object) {
    const pipeline = pipelineWith(null);
    const call = anIdentify(traits, { integrations: { Klaviyo: options } });
    const accepted = await pipeline.send('segment', { path: '/v1/batch', body: { batch: [call] } });
    const [draft] = pipeline.drafts;
    const payload: unknown = JSON.parse(Buffer.from(draft?.payload ?? []).toString());
    const warnings = accepted?.kind === 'accepted' ? accepted.warnings : [];
    return { lane: draft?.lane, payload, warnings: warnings.map(({ code }) => code) };
  }

  it('become an exact update, which replaces no property', async () => {
    const options = {
      fieldsToUnset: ['old'],
      fieldsToAppend: ['tags', 'sizes'],
      fieldsToUnappend: ['colors'],
    };
    const traits = { old: 1, tags: 'vip', sizes: [1, 2], colors: 'red', plan: 'gold' };
    const { lane, payload, warnings } = await send(options, traits);
    expect(lane).toBe('update_profile');
    expect(payload).toMatchObject({
      attributes: { email, properties: { plan: 'gold' } },
      meta: {
        patch_properties: {
          unset: ['old'],
          append: { tags: 'vip', sizes: [1, 2] },
          unappend: { colors: 'red' },
        },
      },
    });
    expect(warnings).toEqual([]);
  });

  it.each([
    ['a trait without a value', { fieldsToAppend: ['absent'] }],
    ['a trait that is an object', { fieldsToAppend: ['nested'] }],
    ['a field of the profile', { fieldsToUnset: ['email'] }],
    ['something that is no name', { fieldsToUnset: [7] }],
  ])('with %s leave it out with a warning', async (_, options) => {
    const { lane, payload, warnings } = await send(options, { nested: {}, plan: 'gold' });
    expect(lane).toBe('profiles');
    expect(payload).toMatchObject({ attributes: { email, properties: { plan: 'gold' } } });
    expect(warnings).toEqual(['patch_not_sent']);
  });

  it('with one trait twice use the first of them', async () => {
    const options = { fieldsToUnset: ['tags'], fieldsToAppend: ['tags'] };
    const { payload, warnings } = await send(options, { tags: 'vip' });
    expect(payload).toMatchObject({ meta: { patch_properties: { unset: ['tags'] } } });
    expect(JSON.stringify(payload)).not.toContain('append');
    expect(warnings).toEqual(['patch_not_sent']);
  });
});
