import { asText } from '../json.js';
import { given, toId, toList } from './fields.js';
import { toDistinct, toGoods } from './goods.js';
import { readTotal, toAmount } from './money.js';
import { readBuyerEmail, toBuyer } from './person.js';
import { joinReadings, readEventTime, toWarnings } from './reading.js';
import { toInsertId, type ShopifyMap } from './request.js';

/**
 * The payload is Shopify's AbandonedCheckout (REST Admin API, 2026-04), of checkouts/create and of
 * checkouts/update alike. Most checkouts begin without an address. The first request that names a
 * person becomes the event, and later ones have the same id, which is the checkout's token. One that
 * is completed is an order, and nothing to come back to.
 */
export const mapCheckout: ShopifyMap = ({ payload }) => {
  const person = toBuyer(payload);
  if (Object.keys(person).length === 0) return { entries: [], skipped: [{ reason: 'anonymous' }] };
  if (asText(payload.completed_at) !== undefined) {
    return { entries: [], skipped: [{ reason: 'completed' }] };
  }
  const reading = joinReadings(
    readEventTime(payload, ['created_at']),
    readTotal(payload),
    readBuyerEmail(payload),
  );
  const entry = given({
    event_name: 'Checkout Started',
    insert_id: toInsertId(asText(payload.token) ?? payload.id),
    ...reading.fields,
    ...person,
    properties: given({
      CheckoutId: toId(payload.id),
      CheckoutURL: asText(payload.abandoned_checkout_url),
      ...toGoods(payload.line_items),
      'Discount Codes': toDistinct(toList(payload.discount_codes).map(({ code }) => asText(code))),
      'Total Discounts': toAmount(payload.total_discounts),
      'Customer Locale': asText(payload.customer_locale),
      ...reading.unread,
    }),
  });
  return {
    entries: [{ lane: 'events', entry, index: 0, ...toWarnings(reading) }],
    skipped: [],
  };
};
