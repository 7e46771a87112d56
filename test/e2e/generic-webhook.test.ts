import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { startRelay, type RelayUnderTest } from '../support/relay.js';

const secret = 'token-0123456789';
const email = 'ada@klaviyo-demo.com';
const mapping = `
generic:
  billing:
    verify: { token: { header: X-Token } }
    kind: $.type
    events:
      - when: { $.type: order.paid }
        event_name: Placed Order
        email: $.order.buyer.email
        insert_id: billing-{$.order.id}
        value: $.order.total
        currency: $.order.currency
        remember: { order: $.order.id }
      - when: { $.type: order.refunded }
        event_name: Refunded Order
        person_from: { order: $.refund.order_id }
        insert_id: billing-refund-{$.refund.id}
        value: $.refund.amount
        currency: $.refund.currency
`;

let folder: string;
let relay: RelayUnderTest;
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'relay-generic-'));
  const path = join(folder, 'mapping.yaml');
  writeFileSync(path, mapping);
  relay = await startRelay({
    env: { MAPPING_FILE: path, GENERIC_WEBHOOK_SECRETS: `billing=${secret}` },
  });
});
afterEach(async () => {
  await relay.stop();
  rmSync(folder, { recursive: true });
});

const post = (body: unknown) =>
  relay.post('/webhooks/generic/billing', JSON.stringify(body), { 'x-token': secret });

it('a refund of a generic webhook is recorded for the buyer of its order', async () => {
  const order = { id: 7, buyer: { email }, total: '$1,299.00 USD', currency: 'usd' };
  expect((await post({ type: 'order.paid', order })).status).toBe(200);
  expect((await post({ type: 'order.paid', order })).body).toMatchObject({ duplicates: 1 });
  const refund = { id: 1, order_id: 7, amount: 99.5, currency: 'USD' };
  expect((await post({ type: 'order.refunded', refund })).body).toMatchObject({ accepted: 1 });
  expect((await post({ type: 'order.viewed' })).body).toMatchObject({ skipped: ['unmapped'] });
  await relay.untilSettled();
  const events = relay.sandbox.state().events.map(({ metric, value, who }) => [metric, value, who]);
  expect(events.sort()).toEqual([
    ['Placed Order', 1299, email],
    ['Refunded Order', 99.5, email],
  ]);
  const { data } = (await relay.get('/v1/sources')).body;
  expect(data).toContainEqual(
    expect.objectContaining({
      source: 'generic',
      kind: 'billing: order.viewed',
      outcome: 'skipped',
      reason: 'unmapped',
    }),
  );
  const logged = relay.logged.join('');
  for (const hidden of [email, secret]) expect(logged).not.toContain(hidden);
});
