import { afterEach, expect, it } from 'vitest';
import { startRelay, type RelayUnderTest } from '../support/relay.js';

let relay: RelayUnderTest;
afterEach(() => relay.stop());

const start = async (env: Record<string, string> = {}): Promise<void> => {
  relay = await startRelay({ env });
};

/** Posts a batch and waits until Klaviyo has recorded it. */
async function send(...batch: object[]) {
  const { status, body } = await relay.post('/v1/batch', { batch });
  expect(status).toBe(200);
  await relay.untilSettled();
  return body;
}

/** What Klaviyo recorded: the name of each event with the identifiers of its profile. */
function recorded() {
  const { events, profiles, violations } = relay.sandbox.state();
  expect(violations).toEqual([]);
  const people = new Map(profiles.map(({ id, attributes }) => [id, attributes]));
  return events.map(({ metric, profileId }) => {
    const { email, external_id: id, anonymous_id: device } = people.get(profileId) ?? {};
    return [metric, email ?? id ?? device];
  });
}

const ada = 'ada@klaviyo-demo.com';
const grace = 'grace@klaviyo-demo.com';
const visit = { type: 'track', event: 'Viewed', anonymousId: 'browser-1' };
let calls = 0;
const aCall = (fields: object) => ({ messageId: `m-${++calls}`, ...fields });
const identify = (userId: string, email: string) =>
  aCall({ type: 'identify', userId, anonymousId: 'browser-1', traits: { email } });

it('the events of a visitor before and after an identify call belong to the identified person', async () => {
  await start();
  await send(aCall(visit));
  await send(identify('1', ada));
  await send(aCall(visit));
  expect(recorded()).toEqual([
    ['Viewed', ada],
    ['Identified', ada],
    ['Viewed', ada],
  ]);
  expect(relay.sandbox.state().profiles).toMatchObject([
    { attributes: { email: ada, external_id: '1', anonymous_id: 'browser-1' } },
  ]);
});

it('two people who use one browser are not merged, and the second has no events of the first', async () => {
  await start();
  await send(aCall(visit), identify('1', ada));
  await send(identify('2', grace), aCall({ ...visit, userId: '2' }));
  await send(aCall({ ...visit, userId: '1' }));
  const people = relay.sandbox.state().profiles.map(({ attributes }) => attributes);
  expect(people).toMatchObject([
    { email: ada, external_id: '1' },
    { email: grace, external_id: '2' },
  ]);
  expect(people[1]).not.toHaveProperty('anonymous_id');
  expect(recorded().filter(([, who]) => who === grace)).toEqual([['Viewed', grace]]);
});

it('an identify call of a browser without earlier events creates a profile and no event', async () => {
  await start();
  await send(identify('1', ada));
  expect(recorded()).toEqual([]);
  expect(relay.sandbox.state().profiles).toHaveLength(1);
});

it('an invitation belongs to the user who sent it, before or after identify, and merges no profiles', async () => {
  const invitation = {
    type: 'track',
    event: 'Invite Sent',
    userId: '1',
    properties: { email: grace },
  };
  const host = () => aCall({ type: 'identify', userId: '1', traits: { email: ada } });
  const guest = () => aCall({ type: 'identify', userId: '2', traits: { email: grace } });
  await start();
  await send(host(), guest());
  await send(aCall(invitation));
  expect(recorded()).toEqual([['Invite Sent', ada]]);
  await relay.stop();
  await start();
  await send(aCall(invitation));
  await send(host(), guest());
  const people = relay.sandbox.state().profiles.map(({ attributes }) => attributes);
  expect(people.map(({ email, external_id: id }) => [email, id]).sort()).toEqual([
    [ada, '1'],
    [grace, '2'],
  ]);
});

it('an order that a browser and a server report is one Placed Order with one revenue', async () => {
  await start();
  await send(identify('1', ada));
  const properties = {
    order_id: 'o-1',
    total: '$80.00',
    currency: 'usd',
    products: [{ sku: 's', price: 40, quantity: 2 }],
  };
  const order = { type: 'track', event: 'Order Completed', properties };
  expect(await send(aCall({ ...order, anonymousId: 'browser-1' }))).toMatchObject({
    accepted: 2,
    duplicates: 0,
    warnings: [],
  });
  const ofServer = { ...order, event: 'Completed Order', userId: '1' };
  expect(await send(aCall(ofServer))).toMatchObject({ accepted: 0, duplicates: 2 });
  const values = relay.sandbox
    .state()
    .events.map(({ metric, value, valueCurrency }) => [metric, value, valueCurrency]);
  expect(values).toEqual([
    ['Placed Order', 80, 'USD'],
    ['Ordered Product', 80, 'USD'],
  ]);
});

it('an invalid phone number of an identify call becomes a profile property and does not affect later events', async () => {
  await start();
  const traits = { email: ada, phone: '12' };
  const event = { type: 'track', event: 'Viewed', userId: '1' };
  const first = await send(aCall({ type: 'identify', userId: '1', traits }), aCall(event));
  expect(first.warnings).toMatchObject([{ index: 0, code: 'phone_unusable' }]);
  expect((await send(aCall(event))).warnings).toEqual([]);
  const repeated = aCall({ ...event, context: { traits } });
  expect((await send(repeated)).warnings).toMatchObject([{ index: 0, code: 'phone_unusable' }]);
  const { events, profiles } = relay.sandbox.state();
  expect(events.map(({ properties }) => properties)).toEqual([{}, {}, {}]);
  expect(profiles).toMatchObject([{ attributes: { properties: { phone_number_invalid: '12' } } }]);
});

it('GET /v1/sources counts unreadable and altered values, with the id of the newest call', async () => {
  await start();
  await send(
    {
      type: 'track',
      event: 'Order Completed',
      userId: '1',
      messageId: 'm-a',
      properties: { revenue: 'free' },
    },
    { type: 'track', event: 'Viewed', userId: '1', messageId: 'm-b', timestamp: 'soon' },
    { type: 'identify', userId: '1', messageId: 'm-c', traits: { email: ada, subscribe: true } },
    { type: 'group', userId: '1', messageId: 'm-d', groupId: 'g' },
  );
  const { body } = await relay.get('/v1/sources');
  const lines = (body.data as { reason: string | null; example: string }[])
    .filter(({ reason }) => reason !== null)
    .map(({ reason, example }) => [reason, example]);
  expect(lines.sort()).toEqual([
    ['email_consent_off', 'm-c'],
    ['group', 'm-d'],
    ['unreadable_amount', 'm-a'],
    ['unreadable_time', 'm-b'],
  ]);
});
