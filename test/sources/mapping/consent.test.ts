import { describe, expect, it } from 'vitest';
import type { Decision, SourceEntry, SourcePost } from '../../../src/ingest/source-entry.js';
import { explainMapping } from '../../../src/sources/mapping/explain.js';
import { applyMapping, parseMapping } from '../../../src/sources/mapping/mapping.js';

const email = 'ada@klaviyo-demo.com';

function readSection(source: string, consent: unknown) {
  const checked = parseMapping({ [source]: { consent } });
  if (!checked.ok) throw new Error(JSON.stringify(checked.errors));
  return checked.value;
}

function faultsOf(source: string, consent: unknown): readonly string[] {
  const checked = parseMapping({ [source]: { consent } });
  return checked.ok ? [] : checked.errors.map(({ pointer, detail }) => `${pointer} ${detail}`);
}

const aDecision = (
  lane: 'subscribe' | 'unsubscribe',
  decision: Partial<Decision> = {},
): SourceEntry => ({
  lane,
  index: 0,
  entry: { email },
  decision: { channel: 'email', ...decision },
});

const aPost = (...entries: readonly SourceEntry[]): SourcePost => ({
  source: 'segment',
  entries,
  people: [],
  skipped: [],
});

/** The completed entries, and the reasons of skips. */
function apply(consent: unknown, ...entries: readonly SourceEntry[]): readonly unknown[] {
  const post = applyMapping(aPost(...entries), readSection('segment', consent));
  return [...post.entries.map(({ entry }) => entry), ...post.skipped.map(({ reason }) => reason)];
}

const on = { list: 'Y6nRLr', email: true };
const channels = { email: ['marketing'] };

describe('a consent that a source reports', () => {
  it.each([
    ['there is no mapping file', undefined],
    ['the section has no rule about it', null],
    ['its channel is off', { list: 'Y6nRLr', email: false, sms: true }],
    ['its channel is not named', { list: 'Y6nRLr', sms: true }],
  ])('is counted as skipped if %s', (_, consent) => {
    expect(apply(consent, aDecision('subscribe'))).toEqual(['email_consent_off']);
  });

  it('joins the list of the mapping file if its channel is on', () => {
    expect(apply(on, aDecision('subscribe'))).toEqual([{ email, channels, list_id: 'Y6nRLr' }]);
    expect(apply({ email: true, unsubscribe: 'everywhere' }, aDecision('subscribe'))).toEqual([
      { email, channels },
    ]);
  });

  it('is from the past, with a source of its own, only if the mapping file says so', () => {
    const rules = { ...on, historical: true, custom_source: 'Shop' };
    expect(apply(rules, aDecision('subscribe'))).toEqual([
      { email, channels, list_id: 'Y6nRLr', historical: true, custom_source: 'Shop' },
    ]);
  });

  it('joins the list that the source names only if the mapping file has it', () => {
    const named = aDecision('subscribe', { listId: 'XUepkK' });
    expect(apply(on, named)).toEqual(['list_off']);
    const allowed = [{ email, channels, list_id: 'XUepkK' }];
    expect(apply({ ...on, lists: ['XUepkK'] }, named)).toEqual(allowed);
    expect(apply({ ...on, list: 'XUepkK' }, named)).toEqual(allowed);
  });

  it('names the list of its group, and is skipped if the mapping file has no list for the group', () => {
    const grouped = aDecision('subscribe', { group: 'vip' });
    expect(apply(on, grouped)).toEqual(['group']);
    expect(apply({ ...on, groups: { vip: 'VipLst' } }, grouped)).toEqual([
      { email, channels, list_id: 'VipLst' },
    ]);
    expect(apply(on, aDecision('subscribe', { group: 'constructor' }))).toEqual(['group']);
  });
});

describe('a withdrawal that a source reports', () => {
  it('is counted as skipped if no channel is on', () => {
    expect(apply(null, aDecision('unsubscribe'))).toEqual(['email_consent_off']);
    expect(apply({ email: false }, aDecision('unsubscribe'))).toEqual(['email_consent_off']);
  });

  it('is passed on for each channel if any channel is on', () => {
    expect(apply({ list: 'Y6nRLr', sms: true }, aDecision('unsubscribe'))).toEqual([
      { email, channels, list_id: 'Y6nRLr' },
    ]);
  });

  it('is from the list or from everything, as the mapping file says', () => {
    expect(apply({ ...on, unsubscribe: 'everywhere' }, aDecision('unsubscribe'))).toEqual([
      { email, channels, everywhere: true },
    ]);
    expect(apply({ ...on, unsubscribe: 'list' }, aDecision('unsubscribe'))).toEqual([
      { email, channels, list_id: 'Y6nRLr' },
    ]);
  });

  it('is from the list that the source names', () => {
    const named = aDecision('unsubscribe', { listId: 'XUepkK' });
    expect(apply({ ...on, unsubscribe: 'everywhere' }, named)).toEqual([
      { email, channels, list_id: 'XUepkK' },
    ]);
  });
});

describe('a person who refused a category of the mapping file', () => {
  const refused: SourceEntry = {
    lane: 'events',
    index: 0,
    entry: { event_name: 'Viewed', email },
    refusedCategories: ['marketing'],
  };

  it('is not sent, and not remembered', () => {
    const people = [
      { kind: 'user', key: 'user:1', person: { email }, refusedCategories: ['marketing'] },
    ] as const;
    const mapping = readSection('segment', { categories: ['marketing'] });
    const post = applyMapping({ ...aPost(refused), people }, mapping);
    expect(post).toMatchObject({
      entries: [],
      people: [],
      skipped: [{ reason: 'consent_refused' }],
    });
  });

  it('is sent if Klaviyo does not belong to the category', () => {
    expect(apply({ categories: ['analytics'] }, refused)).toEqual([refused.entry]);
    expect(apply(null, refused)).toEqual([refused.entry]);
  });
});

describe('the rules about consent', () => {
  it.each([
    [
      'a channel that is no switch',
      'shopify',
      { email: 'yes' },
      '/shopify/consent/email must be true or false',
    ],
    [
      'a list without a channel',
      'shopify',
      { list: 'Y6nRLr' },
      '/shopify/consent names a list and no channel: set email or sms to true',
    ],
    [
      'neither a list nor everywhere',
      'shopify',
      { email: true },
      '/shopify/consent/unsubscribe must be everywhere if no list is given',
    ],
    [
      'an unsubscription from no list',
      'shopify',
      { sms: false, unsubscribe: 'list' },
      '/shopify/consent/unsubscribe needs list',
    ],
    [
      'a list that is no id',
      'shopify',
      { email: true, list: 'my list' },
      '/shopify/consent/list must be the id of a list, such as Y6nRLr',
    ],
    [
      'groups for a source that has none',
      'shopify',
      { ...on, groups: { a: 'B' } },
      '/shopify/consent/groups is not a field of consent',
    ],
    [
      'a source that reports no consents',
      'woocommerce',
      { email: true },
      '/woocommerce/consent is not a field of woocommerce',
    ],
  ])('reject %s, with its place', (_, source, consent, fault) => {
    expect(faultsOf(source, consent)).toEqual([fault]);
  });

  it('are off if all lines below the heading are commented out', () => {
    expect(faultsOf('shopify', null)).toEqual([]);
    expect(readSection('shopify', null).shopify?.consent).toBeNull();
  });

  it('are explained, one line for each', () => {
    const lines = (consent: unknown) =>
      explainMapping(readSection('segment', consent)).find(({ source }) => source === 'segment')
        ?.lines;
    expect(lines({ email: false })).toEqual(['consent: off']);
    expect(
      lines({ ...on, sms: true, unsubscribe: 'everywhere', historical: true, lists: ['A', 'B'] }),
    ).toEqual([
      'consent to email and sms: subscribes to the list Y6nRLr, as consent from the past; a withdrawal unsubscribes from everything',
      'lists that calls may name: A, B',
    ]);
    expect(lines({ ...on, groups: { vip: 'C' }, categories: ['marketing'] })).toEqual([
      'consent to email: subscribes to the list Y6nRLr; a withdrawal unsubscribes from the list Y6nRLr',
      'group vip: is the list C',
      'not sent if the person refused: marketing',
    ]);
  });
});
