import { expect, it } from 'vitest';
import { readDecidedAt } from '../../../src/model/group.js';
import { parseMapping } from '../../../src/sources/mapping/mapping.js';
import { aSession, aStripeEvent } from '../../support/stripe-payloads.js';
import { createPipeline } from '../pipeline.js';

async function deliver(
  type: string,
  session: object,
  consent: unknown = { email: true, list: 'A' },
) {
  const checked = parseMapping({ stripe: { consent } });
  if (!checked.ok) throw new Error(JSON.stringify(checked.errors));
  const pipeline = createPipeline({}, checked.value);
  const event = aStripeEvent(type, session);
  await pipeline.send('stripe', { body: event });
  const skipped = pipeline.activity().filter(({ outcome }) => outcome === 'skipped');
  return { drafts: pipeline.drafts, reasons: skipped.map(({ reason }) => reason), event };
}

const completed = 'checkout.session.completed';
const asked = (promotions: unknown) => ({
  consent: { promotions, terms_of_service: null },
  consent_collection: { promotions: 'auto', terms_of_service: 'none' },
});

it.each([
  ['opt_in', 'subscribe'],
  ['opt_out', 'unsubscribe'],
])('the answer %s at a checkout becomes an entry of the lane %s', async (answer, lane) => {
  const { drafts, reasons, event } = await deliver(completed, aSession(asked(answer)));
  expect(drafts.map((draft) => draft.lane)).toEqual([lane]);
  expect(reasons).toEqual(['other_revenue_source']);
  const { created } = JSON.parse(JSON.stringify(event)) as { created: number };
  expect(readDecidedAt(drafts[0]?.payload ?? Buffer.alloc(0))).toBe(created * 1000);
});

it.each([
  ['nobody was asked', completed, { consent: null }, ['other_revenue_source']],
  ['the box was not shown', completed, asked(null), ['other_revenue_source']],
  ['the checkout expired', 'checkout.session.expired', asked('opt_in'), []],
  [
    'the session has no address',
    completed,
    { ...asked('opt_in'), customer_details: null },
    ['consent_without_address', 'other_revenue_source'],
  ],
])('a checkout gives no consent if %s', async (_, type, overrides, expected) => {
  const { drafts, reasons } = await deliver(type, aSession(overrides));
  expect(drafts.filter(({ lane }) => lane !== 'events')).toEqual([]);
  expect(reasons).toEqual(expected);
});

it('the answer at a checkout is counted as skipped if consents are off', async () => {
  const { drafts, reasons } = await deliver(completed, aSession(asked('opt_in')), null);
  expect(drafts).toEqual([]);
  expect(reasons).toEqual(['email_consent_off', 'other_revenue_source']);
});
