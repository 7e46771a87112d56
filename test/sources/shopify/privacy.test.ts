import { expect, it } from 'vitest';
import { hashIdentifiers } from '../../../src/identity-keys.js';
import { entriesOf, mapTopic, sentOf } from './fixture.js';

const customer = { id: 191167, email: 'ada@klaviyo-demo.com', phone: '+1 617 555 1212' };
const payload = { shop_id: 954889, shop_domain: 'ada.myshopify.com', customer };

it('customers/redact becomes one erasure for each identifier', () => {
  expect(sentOf('customers/redact', payload)).toEqual([
    { type: 'profile', attributes: { email: 'ada@klaviyo-demo.com' } },
    { type: 'profile', attributes: { phone_number: '+16175551212' } },
    { type: 'profile', attributes: { external_id: '191167' } },
  ]);
});

it('customers/redact leaves out a number without a country, which erases nobody', () => {
  const unreadable = { ...payload, customer: { ...customer, phone: '555-625-1199' } };
  expect(entriesOf('customers/redact', unreadable)).toHaveLength(2);
  expect(mapTopic('customers/redact', { shop_id: 1 }).skipped).toEqual([{ reason: 'anonymous' }]);
});

it('customers/data_request gives an operator the hashes of the person, and no address', () => {
  const { entries, skipped } = mapTopic('customers/data_request', payload);
  expect(entries).toEqual([]);
  const hashes = hashIdentifiers({
    email: customer.email,
    phoneNumber: '+16175551212',
    externalId: '191167',
  });
  expect(skipped).toMatchObject([{ reason: 'data_request', id: hashes.join(' ') }]);
  for (const hash of hashes) expect(skipped[0]?.notice).toContain(hash);
  expect(JSON.stringify(skipped)).not.toContain(customer.email);
});

it('shop/redact asks an operator', () => {
  expect(mapTopic('shop/redact', payload)).toMatchObject({
    entries: [],
    skipped: [{ reason: 'shop_redact', id: '954889' }],
  });
});
