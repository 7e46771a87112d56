import { asObjects, asText, distinct } from '../json.js';
import { describeLineItems } from './line-items.js';
import { readOrderTotal, toAmountProperty } from './money.js';
import {
  asShopifyId,
  createShopifyInsertId,
  dropEmpty,
  joinReadings,
  readShopifyTime,
  optionalWarnings,
  type ShopifyMap,
} from './payload.js';
import { readBuyerEmail, readShopifyBuyer } from './person.js';

/**
 * Maps checkouts/create and checkouts/update. The payload is Shopify's AbandonedCheckout (REST Admin
 * API, 2026-04). Most checkouts begin without an e-mail address. The first request that names a person
 * becomes the event; later ones have the same unique id, the token of the checkout. A completed checkout
 * is skipped, because the order has its own topic.
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
    entries: [{ lane: 'events', entry, index: 0, ...optionalWarnings(reading) }],
    skipped: [],
  };
};
