import type { Ledger, SourceEntry, SourcePost } from '../../ingest/source-entry.js';
import { asShopifyId } from './fields.js';
import { mapPlacedOrder } from './orders.js';
import { isOrderWithoutBuyer, readShopifyBuyer } from './person.js';
import type { ShopifyRequest } from './request.js';

/**
 * Orders without a buyer, such as sales at a till. Their refunds and shipments name the order alone:
 * they are skipped as the order was, and do not wait for a buyer. A till that takes an e-mail address
 * for the receipt names the buyer after the sale: the order is recorded with that update.
 */

type Mapped = Pick<SourcePost, 'entries' | 'skipped' | 'ledger'>;

/** Text that is kept for an order without a buyer; for one that was named later, `named` and by whom. */
const anonymous = 'anonymous';

export function addAnonymousOrders(request: ShopifyRequest, mapped: Mapped): Mapped {
  const { topic, shop, payload } = request;
  const isOrder = topic.startsWith('orders/');
  const orderId = asShopifyId(isOrder ? payload.id : payload.order_id);
  if (orderId === undefined || payload.test === true) return mapped;
  const toLedger = (resolve: Ledger['resolve']): Ledger => ({
    kind: 'order',
    key: `anonymous:${shop}:${orderId}`,
    resolve,
  });
  if (isOrder && isOrderWithoutBuyer(payload)) {
    // Later topics may name nobody because the buyer's data was redacted.
    if (topic !== 'orders/create') return mapped;
    return { ...mapped, ledger: toLedger((kept) => ({ ...nothing, kept: kept ?? anonymous })) };
  }
  if (topic === 'orders/updated') {
    return { ...mapped, ledger: toLedger((kept) => recordLate(request, kept)) };
  }
  const { entries } = mapped;
  if (isOrder || entries.length === 0 || !entries.every(isUnnamed)) return mapped;
  const skipped = entries.map(({ id }) => ({ reason: 'anonymous', id }));
  const ledger = toLedger((kept) =>
    kept === anonymous ? { entries: [], skipped, kept } : { entries, skipped: [], kept },
  );
  return { ...mapped, entries: [], ledger };
}

const nothing = { entries: [], skipped: [] };

/** The first buyer who is named counts: an order that changes hands later is not recorded again. */
function recordLate(request: ShopifyRequest, kept: string | null): ReturnType<Ledger['resolve']> {
  const named = `named ${JSON.stringify(readShopifyBuyer(request.payload))}`;
  if (kept !== anonymous && kept !== named) return { ...nothing, kept };
  return { ...mapPlacedOrder(request), kept: named };
}

function isUnnamed({ entry }: SourceEntry): boolean {
  return entry.email === undefined && entry.phone_number === undefined;
}
