import { expect, it } from 'vitest';
import type { FactKind } from '../../src/model/fact.js';
import { Devices } from '../../src/ingest/devices.js';
import { findPeople } from '../../src/ingest/people.js';
import { createToE164 } from '../../src/ingest/phone.js';
import type { KnownPerson, SourceEntry } from '../../src/ingest/source-entry.js';
import { Slices } from '../../src/slices.js';
import { createManualClock } from '../support/manual-clock.js';

const ada = 'ada@klaviyo-demo.com';
const grace = 'grace@klaviyo-demo.com';

type Relay = { readonly devices: Devices; readonly facts: Map<string, string> };

const createRelay = (facts = new Map<string, string>()): Relay => ({
  devices: new Devices(createManualClock()),
  facts,
});

const anEvent = (entry: object, others: Partial<SourceEntry> = {}): SourceEntry => ({
  lane: 'events',
  index: 0,
  entry: { event_name: 'Viewed', ...entry },
  device: { id: 'browser-1' },
  ...others,
});

const aProfile = (entry: object): SourceEntry => ({
  ...anEvent({}),
  lane: 'profiles',
  entry: { ...entry },
});

/** Completes the entries of one request and returns their identifiers; null is an entry that is not sent. */
async function complete(
  { devices, facts }: Relay,
  entries: readonly SourceEntry[],
  people: readonly KnownPerson[] = [],
) {
  const post = { source: 'segment', entries, people, skipped: [] };
  const finding = {
    getFacts: (keys: readonly string[]) =>
      Promise.resolve(keys.map((key) => facts.get(key) ?? null)),
    toE164: createToE164(),
    slices: new Slices(createManualClock()),
  };
  const { complete: known } = await findPeople(post, finding);
  const found = await devices.find(post, { ...finding, complete: known });
  const kinds = new Set<FactKind>();
  for (const { kind, key, value } of found.facts) {
    kinds.add(kind);
    facts.set(key, value);
  }
  expect([...kinds]).toEqual(found.facts.length === 0 ? [] : ['device']);
  return entries.map((entry) => {
    const completed = found.complete(entry);
    if (completed === null) return null;
    const identifiers = Object.entries(completed.entry).filter(([name]) => name !== 'event_name');
    return Object.fromEntries(identifiers);
  });
}

it('an event of a person gets the id of the device if no other person was seen with the device', async () => {
  const relay = createRelay();
  const event = anEvent({ distinct_id: '1', email: ada });
  const expected = [{ distinct_id: '1', email: ada, anonymous_id: 'browser-1' }];
  expect(await complete(relay, [event])).toEqual(expected);
  expect(await complete(relay, [event])).toEqual(expected);
});

it('an event of a person gets no id of a device with which another person was seen, in an earlier or in the same request', async () => {
  const [one, two] = [anEvent({ distinct_id: '1' }), anEvent({ distinct_id: '2' })];
  const earlier = createRelay();
  await complete(earlier, [one]);
  expect(await complete(earlier, [two])).toEqual([{ distinct_id: '2' }]);
  expect(await complete(earlier, [one])).toEqual([{ distinct_id: '1' }]);
  expect(await complete(createRelay(), [one, two])).toEqual([
    { distinct_id: '1' },
    { distinct_id: '2' },
  ]);
});

it('a device that several people used is still recognised by its fact after a restart', async () => {
  const first = createRelay();
  await complete(first, [anEvent({ email: ada }), anEvent({ email: grace })]);
  const restarted = createRelay(first.facts);
  expect(await complete(restarted, [anEvent({ email: ada })])).toEqual([{ email: ada }]);
  expect(await complete(restarted, [anEvent({})])).toEqual([{ anonymous_id: 'browser-1' }]);
});

it('concurrent requests find the people of each other before the facts are stored', async () => {
  const relay = createRelay();
  const both = await Promise.all([
    complete({ ...relay, facts: new Map() }, [anEvent({ distinct_id: '1' })]),
    complete({ ...relay, facts: new Map() }, [anEvent({ distinct_id: '2' })]),
  ]);
  expect(both.flat().filter((event) => event !== null && 'anonymous_id' in event)).toHaveLength(1);
});

it.each([
  [
    'the same id and different addresses are of one person',
    { distinct_id: '1', email: ada },
    { distinct_id: '1', email: grace },
    true,
  ],
  [
    'the same address, and an id only later, are of one person',
    { email: ada },
    { distinct_id: '1', email: 'Ada@Klaviyo-Demo.com' },
    true,
  ],
  [
    'the same address and different ids are of two people',
    { distinct_id: '1', email: ada },
    { distinct_id: '2', email: ada },
    false,
  ],
  ['nothing in common are of two people', { email: ada }, { distinct_id: '1' }, false],
  [
    'the same phone number are of one person',
    { phone_number: '+12025550123' },
    { phone_number: '+12025550123' },
    true,
  ],
])('two calls of one device with %s', async (_what, one, other, isSamePerson) => {
  const relay = createRelay();
  await complete(relay, [anEvent(one)]);
  const [event] = await complete(relay, [anEvent(other)]);
  expect(event !== null && event !== undefined && 'anonymous_id' in event).toBe(isSamePerson);
});

it('an event without a person belongs to its device, and to the only person that a profile named with the device', async () => {
  const relay = createRelay();
  expect(await complete(relay, [anEvent({})])).toEqual([{ anonymous_id: 'browser-1' }]);
  expect(await complete(relay, [aProfile({ email: ada })])).toEqual([{ email: ada }]);
  expect(await complete(relay, [anEvent({})])).toEqual([{ email: ada, anonymous_id: 'browser-1' }]);
  await complete(relay, [aProfile({ email: grace })]);
  expect(await complete(relay, [anEvent({})])).toEqual([{ anonymous_id: 'browser-1' }]);
});

it('a joining event is sent only if the device had an event without a person and belongs to one person', async () => {
  const join = anEvent({ email: ada }, { device: { id: 'browser-1', isJoin: true } });
  const relay = createRelay();
  expect(await complete(relay, [aProfile({ email: ada }), join])).toEqual([{ email: ada }, null]);
  await complete(relay, [anEvent({})]);
  const joined = { email: ada, anonymous_id: 'browser-1' };
  expect(await complete(relay, [aProfile({ email: ada }), join])).toEqual([{ email: ada }, joined]);
  await complete(relay, [anEvent({ email: grace })]);
  expect(await complete(relay, [join])).toEqual([null]);
});

it('an address of last resort is used only without another identifier that names the person, and then alone', async () => {
  const event = anEvent({ distinct_id: '1' }, { personKeys: ['user:1'], lastResort: grace });
  const person = { distinct_id: '1', email: ada };
  const known: KnownPerson = { kind: 'user', key: 'user:1', person };
  const [identified] = await complete(createRelay(), [event], [known]);
  expect(identified).toEqual({ ...person, anonymous_id: 'browser-1' });
  expect(await complete(createRelay(), [event])).toEqual([{ email: grace }]);
  expect(await complete(createRelay(), [{ ...event, lastResort: 'no address' }])).toEqual([
    { distinct_id: '1', anonymous_id: 'browser-1' },
  ]);
  const visitor = createRelay();
  const visit = anEvent({}, { lastResort: grace });
  expect(await complete(visitor, [visit])).toEqual([{ email: grace }]);
  await complete(visitor, [aProfile({ email: ada })]);
  expect(await complete(visitor, [visit])).toEqual([{ email: ada, anonymous_id: 'browser-1' }]);
});

it('an address of last resort does not count as a person seen with the device', async () => {
  const relay = createRelay();
  await complete(relay, [anEvent({}, { lastResort: grace })]);
  expect(await complete(relay, [anEvent({ email: ada })])).toEqual([
    { email: ada, anonymous_id: 'browser-1' },
  ]);
});

it('an invalid phone number is not taken from the profile of the same request', async () => {
  const person = { distinct_id: '1', phone_number: '12' };
  const event = anEvent({ distinct_id: '1' }, { personKeys: ['user:1'] });
  const known: KnownPerson = { kind: 'user', key: 'user:1', person };
  expect(await complete(createRelay(), [event], [known])).toEqual([
    { distinct_id: '1', anonymous_id: 'browser-1' },
  ]);
});

it('a phone number is parsed with the country of the person', async () => {
  const person = { distinct_id: '1', phone_number: '(202) 555-0123' };
  const event = anEvent({ distinct_id: '1' }, { personKeys: ['user:1'] });
  const known: KnownPerson = { kind: 'user', key: 'user:1', person, country: 'US' };
  const [completed] = await complete(createRelay(), [event], [known]);
  expect(completed).toMatchObject({ phone_number: '+12025550123' });
});

it('a repeated phone number is added in E.164 form, or omitted with a warning', async () => {
  const add = async (number: string, country?: string) => {
    const event = anEvent({ email: ada }, { repeatedPhone: { number, country } });
    return (await complete(createRelay(), [event]))[0];
  };
  expect(await add('202-555-0123', 'US')).toMatchObject({ phone_number: '+12025550123' });
  expect(await add('202-555-0123')).not.toHaveProperty('phone_number');
});

it('an invalid phone number does not count as a person seen with the device', async () => {
  const relay = createRelay();
  await complete(relay, [aProfile({ phone_number: '555-0123' })]);
  expect(await complete(relay, [anEvent({})])).toEqual([{ anonymous_id: 'browser-1' }]);
  expect(await complete(relay, [anEvent({ email: ada })])).toEqual([
    { email: ada, anonymous_id: 'browser-1' },
  ]);
});
