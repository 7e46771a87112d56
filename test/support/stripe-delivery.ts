import Stripe from 'stripe';

export const stripeSecret = 'whsec_stripe_test_1';

const stripe = new Stripe('sk_test_1');

/** The headers of a webhook as Stripe sends it, signed by its own SDK. `at`: epoch ms. */
export function toStripeHeaders(
  payload: string,
  at: number,
  secret = stripeSecret,
): Record<string, string> {
  const timestamp = Math.floor(at / 1000);
  const signature = stripe.webhooks.generateTestHeaderString({ payload, secret, timestamp });
  return { 'content-type': 'application/json; charset=utf-8', 'stripe-signature': signature };
}
