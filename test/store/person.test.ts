import { describe, expect, it } from 'vitest';
import { hashIdentifiers } from '../../src/identity-keys.js';
import type { StoreLane } from '../../src/model/lane.js';
import { toGroupedPayload } from '../../src/model/group.js';
import {
  createIsBefore,
  createPersonMatcher,
  findPersonKeys,
  toErasureMark,
} from '../../src/store/person.js';
import { toId } from '../../src/store/ids.js';
import { anEnvelope } from '../support/builders.js';

const email = 'Ada@klaviyo-demo.com';
const [emailKey = ''] = hashIdentifiers({ email });
const byEmail = createPersonMatcher({ key: emailKey, value: email });

const stored = (payload: unknown, lane: StoreLane = 'waiting', keys: readonly string[] = []) => ({
  lane,
  keys,
  payload: Buffer.from(typeof payload === 'string' ? payload : JSON.stringify(payload)),
});

/** Returns an event in the form that Klaviyo's bulk endpoint takes. */
const anEventOf = (attributes: object, properties: object = {}) => ({
  type: 'event-bulk-create',
  attributes: {
    profile: { data: { type: 'profile', attributes } },
    events: { data: [{ type: 'event', attributes: { properties } }] },
  },
});

describe('an envelope is about a person', () => {
  it('whose key it has, whatever its payload is', () => {
    expect(byEmail.isAbout(stored('no JSON', 'profiles', ['x1', emailKey]))).toBe(true);
    expect(byEmail.isAbout(stored('no JSON', 'profiles', ['x1']))).toBe(false);
  });

  it.each([
    [{ email: 'ADA@KLAVIYO-DEMO.COM' }, true],
    [{ email: 'other@klaviyo-demo.com' }, false],
    [{ external_id: email }, false],
    [{ email: 1 }, false],
  ])('of an event if the profile of the event is %j: %s', (attributes, isAbout) => {
    expect(byEmail.isAbout(stored(anEventOf(attributes), 'events'))).toBe(isAbout);
  });

  it('only if the profile of the event has the identifier, and not a property of the event', () => {
    const event = anEventOf({ external_id: 'u1' }, { invited: { email } });
    expect(byEmail.isAbout(stored(event, 'events'))).toBe(false);
  });

  it('of an event that is not mapped, such as a dead letter of intake, if a member names the person', () => {
    expect(byEmail.isAbout(stored({ event_name: 'A', email }, 'events'))).toBe(true);
    expect(byEmail.isAbout(stored({ event_name: 'A', note: `of ${email}` }, 'events'))).toBe(false);
  });

  it('if an object or a list within an entry that is not mapped names the person', () => {
    const entry = { body: { orders: [{ total: 1 }, { customer: { email: ` ${email} ` } }] } };
    expect(byEmail.isAbout(stored(entry))).toBe(true);
    expect(byEmail.isAbout(stored({ body: [email], note: email }))).toBe(false);
    expect(byEmail.isAbout(stored(`broken {"email":"${email}"}`))).toBe(false);
  });

  it.each([
    ['a profile', JSON.stringify({ type: 'profile', attributes: { manager: { email } } })],
    ['a subscription', toGroupedPayload('L', JSON.stringify({ manager: { email } }), 0)],
  ])(
    'never because of what %s says of somebody else, as it has the keys of its person',
    (_, text) => {
      expect(byEmail.isAbout(stored(text, 'profiles', ['x1']))).toBe(false);
    },
  );

  it.each([
    ['external_id', 'customer/1'],
    ['distinct_id', 'customer/1'],
    ['phone_number', '+12124561000'],
  ])('by the identifier %s', (name, value) => {
    const identifiers = name === 'phone_number' ? { phoneNumber: value } : { externalId: value };
    const [key = ''] = hashIdentifiers(identifiers);
    const matcher = createPersonMatcher({ key, value });
    expect(matcher.isAbout(stored({ [name]: value }))).toBe(true);
    expect(matcher.isAbout(stored({ [name]: `${value}0` }))).toBe(false);
  });

  it.each([undefined, 'żółć@klaviyo-demo.com'])(
    'by its key alone, and by an address in any form of its letters: %s',
    (value) => {
      const [key = ''] = hashIdentifiers({ email: value ?? email });
      const matcher = createPersonMatcher({ key, value });
      const upper = (value ?? email).toUpperCase();
      expect(matcher.isAbout(stored({ email: upper }))).toBe(true);
      expect(matcher.isAbout(stored({ email: `x${upper}` }))).toBe(false);
    },
  );
});

describe('the value of a fact is about a person', () => {
  it.each([
    [`the key ${emailKey} is in it`, true],
    [JSON.stringify({ email: email.toLowerCase() }), true],
    [`ledger ${JSON.stringify({ buyer: { email } })}`, true],
    [JSON.stringify({ note: email }), false],
    [JSON.stringify({ email: 'other@klaviyo-demo.com' }), false],
    ['no JSON', false],
  ])('%s: %s', (value, isAbout) => {
    expect(byEmail.isInFact(value)).toBe(isAbout);
  });
});

it('the keys of the person of an event come from its profile, and those of any other envelope are its own', () => {
  const payload = Buffer.from(JSON.stringify(anEventOf({ email, external_id: 'u1' })));
  const keys = ['e-of-the-event'];
  const expected = hashIdentifiers({ email, externalId: 'u1' });
  expect(findPersonKeys('events', { keys, payload })).toEqual(expected);
  expect(findPersonKeys('events', { keys, payload: Buffer.from('{}') })).toEqual([]);
  expect(findPersonKeys('profiles', { keys, payload })).toEqual(keys);
});

describe('an envelope was accepted before an erasure', () => {
  const id = (lane: StoreLane, seq: number): string => toId({ lane, epoch: '000000', seq });

  it('if its number is not above the last one of its counter at that time', () => {
    const mark = toErasureMark(10, { events: 5, waiting: 7 });
    const isBefore = createIsBefore(
      anEnvelope({ lane: 'erase', keys: [emailKey, mark], id: id('erase', 99) }),
    );
    const last = (lane: StoreLane): number =>
      [...Array(20).keys()].filter((seq) => isBefore(lane, id(lane, seq))).length - 1;
    expect([last('events'), last('waiting'), last('profiles')]).toEqual([5, 7, 9]);
    expect(isBefore('profiles', 'no id')).toBe(false);
  });

  it('if the erasure has no mark and its own number is higher, which no event is known to be', () => {
    const isBefore = createIsBefore(anEnvelope({ lane: 'erase', id: id('erase', 3) }));
    expect([2, 3].map((seq) => isBefore('profiles', id('profiles', seq)))).toEqual([true, false]);
    expect(isBefore('events', id('events', 1))).toBe(false);
  });
});
