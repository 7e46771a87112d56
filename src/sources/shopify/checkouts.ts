import { asText } from '../json.js';
import { dropEmpty, asShopifyId, asObjects } from './fields.js';
import { distinct, describeLineItems } from './goods.js';
import { readOrderTotal, toAmountProperty } from './money.js';
import { readBuyerEmail, readShopifyBuyer } from './person.js';
import { joinReadings, readShopifyTime, toWarnings } from './reading.js';
import { createShopifyInsertId, type ShopifyMap } from './request.js';

/**
 * The payload is Shopify's AbandonedCheckout (REST Admin API, 2026-04), of checkouts/create and of
 * checkouts/update alike. Most checkouts begin without an address. The first request that names a
 * person becomes the event, and later ones have the same id, which is the checkout's token. One that
 * is completed is an order, and nothing to come back to.
 */
export const mapCheckout: ShopifyMap = ({ payload }) => {
  const person = readShopifyBuyer(payload);
  if (Object.keys(person).length === 0) return { entries: [], skipped: [{ reason: 'anonymous' }] };
  if (asText(payload.completed_at) !== undefined) {
    return { entries: [], skipped: [{ reason: 'completed' }] };
  }
  const reading = joinReadings(
    readShopifyTime(payload, ['created_at']),
    readOrderTotal(payload),
    readBuyerEmail(payload),
  );
  const entry = dropEmpty({
    event_name: 'Checkout Started',
    insert_id: createShopifyInsertId(asText(payload.token) ?? payload.id),
    ...reading.fields,
    ...person,
    properties: dropEmpty({
      CheckoutId: asShopifyId(payload.id),
      CheckoutURL: asText(payload.abandoned_checkout_url),
      ...describeLineItems(payload.line_items),
      'Discount Codes': distinct(asObjects(payload.discount_codes).map(({ code }) => asText(code))),
      'Total Discounts': toAmountProperty(payload.total_discounts),
      'Customer Locale': asText(payload.customer_locale),
      ...reading.unread,
    }),
  });
  return {
    entries: [{ lane: 'events', entry, index: 0, ...toWarnings(reading) }],
    skipped: [],
  };
};
