import { hash } from 'node:crypto';
import type { Ledger, SourceEntry, SourcePost } from '../../ingest/source-entry.js';
import { asObject } from '../json.js';
import { mapCheckout } from './checkouts.js';
import { mapEmailConsent, mapSmsConsent } from './consent.js';
import { mapShopifyCustomer } from './customers.js';
import { mapFulfilment, mapFulfilmentEvent } from './fulfilments.js';
import {
  mapCancelledOrder,
  mapFulfilledOrder,
  mapPartlyFulfilledOrder,
  mapPlacedOrder,
} from './orders.js';
import { asShopifyId, type ShopifyMap, type ShopifyRequest } from './payload.js';
import { isOrderWithoutBuyer, listKnownBuyers, readShopifyBuyer } from './person.js';
import { mapCustomerRedact, mapDataRequest, mapShopRedact } from './privacy.js';
import { mapRefund, mapRefundsOfOrder } from './refunds.js';

/**
 * The function that maps each topic. The relay skips other topics. Only orders/create gives the revenue of an order:
 * orders/paid, orders/edited and draft_orders/* are about orders that this topic also delivers.
 */
const topicMaps: ReadonlyMap<string, ShopifyMap> = new Map([
  ['orders/create', mapPlacedOrder],
  ['orders/fulfilled', mapFulfilledOrder],
  ['orders/partially_fulfilled', mapPartlyFulfilledOrder],
  ['orders/cancelled', mapCancelledOrder],
  ['orders/updated', mapRefundsOfOrder],
  ['refunds/create', mapRefund],
  ['fulfillments/create', mapFulfilment],
  ['fulfillments/update', mapFulfilment],
  ['fulfillment_events/create', mapFulfilmentEvent],
  ['checkouts/create', mapCheckout],
  ['checkouts/update', mapCheckout],
  ['customers/create', mapShopifyCustomer],
  ['customers/update', mapShopifyCustomer],
  ['customers_email_marketing_consent/update', mapEmailConsent],
  ['customers_marketing_consent/update', mapSmsConsent],
  ['customers/redact', mapCustomerRedact],
  ['customers/data_request', mapDataRequest],
  ['shop/redact', mapShopRedact],
]);

const skipUnmapped: ShopifyMap = () => ({ entries: [], skipped: [{ reason: 'unmapped' }] });

type Posted = Omit<ShopifyRequest, 'payload'> & {
  /** The id of the webhook, the same in every repetition. */
  readonly delivery?: string | undefined;
  readonly body: unknown;
};

/** Maps one webhook. Each topic about orders keeps the buyer as a fact, which refunds and shipments look up later. */
export function mapShopifyWebhook({ body, delivery, ...named }: Posted): SourcePost {
  const request = { ...named, payload: asObject(body) };
  const { topic, shop, payload } = request;
  const map = topicMaps.get(topic) ?? skipUnmapped;
  return {
    source: 'shopify',
    topic,
    ...(delivery !== undefined && { delivery }),
    ...addAnonymousOrders(request, map(request)),
    people: topic.startsWith('orders/') ? listKnownBuyers(shop, payload) : [],
  };
}

/**
 * Orders without a buyer, such as sales at a till, are skipped. A ledger for each such order decides two
 * things that depend on earlier requests:
 * - A refund or a shipment names the order alone. It is skipped if the order was, and does not wait.
 * - A till that takes an e-mail address for the receipt names the buyer after the sale. The order is
 *   recorded with that update.
 */

type Mapped = Pick<SourcePost, 'entries' | 'skipped' | 'ledger'>;

/** The ledger's text for an order without a buyer. If a later update names one: `named` and a hash of the buyer. */
const anonymous = 'anonymous';

export function addAnonymousOrders(request: ShopifyRequest, mapped: Mapped): Mapped {
  const { topic, shop, payload } = request;
  const isOrder = topic.startsWith('orders/');
  const orderId = asShopifyId(isOrder ? payload.id : payload.order_id);
  if (orderId === undefined || payload.test === true) return mapped;
  const createOrderLedger = (resolve: Ledger['resolve']): Ledger => ({
    kind: 'order',
    key: `anonymous:${shop}:${orderId}`,
    resolve,
  });
  if (isOrder && isOrderWithoutBuyer(payload)) {
    // Later topics may name nobody because the buyer's data was redacted.
    if (topic !== 'orders/create') return mapped;
    return {
      ...mapped,
      ledger: createOrderLedger((kept) => ({ ...nothing, kept: kept ?? anonymous })),
    };
  }
  if (topic === 'orders/updated') {
    return { ...mapped, ledger: createOrderLedger((kept) => recordNamedLater(request, kept)) };
  }
  const { entries } = mapped;
  if (isOrder || entries.length === 0 || !entries.every(isWithoutContact)) return mapped;
  const skipped = entries.map(({ id }) => ({ reason: 'anonymous', id }));
  const ledger = createOrderLedger((kept) =>
    kept === anonymous ? { entries: [], skipped, kept } : { entries, skipped: [], kept },
  );
  return { ...mapped, entries: [], ledger };
}

const nothing = { entries: [], skipped: [] };

/** Only the first named buyer counts: an order that is given to another buyer later is not recorded again. */
function recordNamedLater(
  request: ShopifyRequest,
  kept: string | null,
): ReturnType<Ledger['resolve']> {
  // A hash, since the fact is no place where an erasure looks for a person.
  const buyer = JSON.stringify(readShopifyBuyer(request.payload));
  const named = `named ${hash('sha256', buyer, 'base64url')}`;
  if (kept !== anonymous && kept !== named) return { ...nothing, kept };
  return { ...mapPlacedOrder(request), kept: named };
}

function isWithoutContact({ entry }: SourceEntry): boolean {
  return entry.email === undefined && entry.phone_number === undefined;
}
