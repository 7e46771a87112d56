import { asText } from '../json.js';
import { given, toId, toList, toTime } from './fields.js';
import { toAmount, toDistinct, toGoods } from './goods.js';
import { toBuyer } from './person.js';
import { toInsertId, type ShopifyMap } from './request.js';

/**
 * The payload is Shopify's AbandonedCheckout (REST Admin API, 2026-04). Those that name nobody are
 * skipped: nothing that is read later tells whose they are, and as dead letters they would crowd out
 * the others.
 */
export const mapCheckout: ShopifyMap = ({ payload }) => {
  const person = toBuyer(payload);
  if (Object.keys(person).length === 0) return { entries: [], skipped: [{ reason: 'anonymous' }] };
  const entry = given({
    event_name: 'Checkout Started',
    event_time: toTime(payload.created_at),
    insert_id: toInsertId(payload.token),
    ...person,
    value: toAmount(payload.total_price),
    currency: asText(payload.currency),
    properties: given({
      CheckoutId: toId(payload.id),
      CheckoutURL: asText(payload.abandoned_checkout_url),
      ...toGoods(payload.line_items),
      'Discount Codes': toDistinct(toList(payload.discount_codes).map(({ code }) => asText(code))),
      'Total Discounts': toAmount(payload.total_discounts),
      'Customer Locale': asText(payload.customer_locale),
    }),
  });
  return { entries: [{ lane: 'events', entry, index: 0 }], skipped: [] };
};
