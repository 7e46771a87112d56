import type { JsonObject } from '../../json/json.js';
import type { SourceEntry, SourceWarning } from '../../ingest/source-entry.js';
import { add, toDecimal, toNumber, type Decimal } from '../decimal.js';
import { asId, asObject, asText, compact } from '../json.js';
import { readAmount, readMoney, type Placed } from '../money.js';
import { toAmountProperty, toGoods, toItem, toLines, toRowTotal } from './goods.js';
import { toAccount, toBuyer, toCustomerId, toReadable } from './person.js';
import { toInsertId, type WooMap, type WooRequest } from './request.js';
import { readWooTime, type WooTime } from './time.js';

/**
 * The payload is the whole order (REST API v1 to v3) as it was when WooCommerce delivered the webhook,
 * which can be minutes after what raised it, and one change raises several. So the state of the order
 * decides which events there are, and not the topic; each event has an id of its own, so that it counts
 * once however often the order comes.
 */

/** Statuses with which WooCommerce counts an order as a sale. An unpaid `pending` order is none. */
const placedStatuses: ReadonlySet<string> = new Set(['processing', 'on-hold', 'completed']);

/** Gateways of WooCommerce whose orders are placed before they are paid. */
const offlineMethods: ReadonlySet<string> = new Set(['bacs', 'cheque', 'cod']);

export const mapOrder: WooMap = (request) => {
  const { payload } = request;
  const entries = [
    ...(isPlaced(payload) ? toPlaced(request) : []),
    ...toStatusEvents(request),
    ...toRefunds(request),
  ];
  const skip = (reason: string) => ({ entries: [], people: [], skipped: [{ reason }] });
  if (entries.length === 0) return skip('not_placed');
  const isSomebody =
    Object.keys(toBuyer(payload)).length > 0 || toCustomerId(payload.customer_id) !== undefined;
  return isSomebody ? { entries, people: [], skipped: [] } : skip('anonymous');
};

/** Some plugins write the name under which WordPress stores a status: `wc-processing`. */
function toStatus({ status }: JsonObject): string {
  return (asText(status) ?? '').toLowerCase().replace(/^wc-/, '');
}

/** A paid order was placed, whatever became of it and whatever a plugin calls its status. */
function isPlaced(payload: JsonObject): boolean {
  return placedStatuses.has(toStatus(payload)) || isPaid(payload);
}

function isPaid(payload: JsonObject): boolean {
  return (asText(payload.date_paid_gmt) ?? asText(payload.date_paid)) !== undefined;
}

function toPlaced(request: WooRequest): readonly SourceEntry[] {
  const { payload } = request;
  const time = readWooTime(payload, ['date_created']);
  const hasTax = payload.prices_include_tax === true;
  const placed = toOrderEvent(request, { metric: 'Placed Order', time, hasValue: true });
  const lines = toLines(payload.line_items).map((line, at): SourceEntry => {
    const rowTotal = toRowTotal(line, hasTax);
    const money = readMoney(
      {
        value: rowTotal === undefined ? line.subtotal : toNumber(rowTotal),
        pointer: `/line_items/${at}/subtotal`,
      },
      currencyOf(payload),
    );
    return toEntry(request, {
      fields: {
        event_name: 'Ordered Product',
        ...time.fields,
        insert_id: toInsertId(request, asId(line.id) ?? `line-${at}`),
        ...money.fields,
        properties: compact({
          OrderId: asId(payload.id),
          ...toItem(line, hasTax),
          ...time.kept,
          ...(rowTotal === undefined && { subtotal: line.subtotal }),
        }),
      },
      index: at + 1,
      // The order's event has what is wrong with its time and its currency.
      warnings: money.warnings.filter(({ code }) => code === 'unreadable_amount'),
    });
  });
  return [placed, ...lines];
}

function toStatusEvents(request: WooRequest): readonly SourceEntry[] {
  const { payload } = request;
  const changed = readWooTime(payload, ['date_modified']);
  switch (toStatus(payload)) {
    case 'completed': {
      const time = readWooTime(payload, ['date_completed', 'date_modified']);
      return [toOrderEvent(request, { metric: 'Fulfilled Order', time, hasValue: true })];
    }
    case 'cancelled':
      // Klaviyo takes the value off what the customer has spent: only where it was counted.
      return [
        toOrderEvent(request, {
          metric: 'Cancelled Order',
          time: changed,
          hasValue: isPaid(payload) || offlineMethods.has(asText(payload.payment_method) ?? ''),
        }),
      ];
    case 'failed':
      return [toOrderEvent(request, { metric: 'Failed Payment', time: changed, hasValue: false })];
    default:
      return [];
  }
}

/** An order lists its refunds with their ids and totals, which are negative, and without a time. */
function toRefunds(request: WooRequest): readonly SourceEntry[] {
  const { payload } = request;
  const time = readWooTime(payload, ['date_modified']);
  return toLines(payload.refunds).map((refund, at) => {
    const total = readAmount(refund.total, asText(payload.currency));
    const paid = total.kind === 'read' ? toDecimal(total.amount) : undefined;
    const money = readMoney(
      {
        value: paid === undefined ? refund.total : toNumber(toPositive(paid)),
        pointer: `/refunds/${at}/total`,
      },
      currencyOf(payload),
    );
    const refundId = asId(refund.id);
    return toEntry(request, {
      fields: {
        event_name: 'Refunded Order',
        ...time.fields,
        insert_id: toInsertId(request, `refund-${refundId ?? `at-${at}`}`),
        ...money.fields,
        properties: compact({
          ...toOrderProperties(payload),
          RefundId: refundId,
          Reason: asText(refund.reason) ?? asText(refund.refund),
          ...time.kept,
          ...keepUnreadable(money.fields, { total: refund.total, currency: payload.currency }),
        }),
      },
      index: 0,
      warnings: [...time.warnings, ...money.warnings],
    });
  });
}

type OrderEvent = {
  readonly metric: string;
  readonly time: WooTime;
  /** False: the amount is a property, and no revenue. */
  readonly hasValue: boolean;
};

function toOrderEvent(request: WooRequest, { metric, time, hasValue }: OrderEvent): SourceEntry {
  const { payload } = request;
  const money = readMoney(toOrderValue(request), currencyOf(payload));
  const { value, currency } = money.fields;
  const total = readAmount(payload.total, currency);
  return toEntry(request, {
    fields: {
      event_name: metric,
      ...time.fields,
      insert_id: toInsertId(request),
      ...(hasValue ? money.fields : {}),
      ...(hasValue && total.kind === 'read' && { total_amount: total.amount }),
      properties: compact({
        ...toOrderProperties(payload),
        ...toGoods(payload),
        ...(!hasValue && { Amount: value, Currency: currency }),
        ...time.kept,
        ...keepUnreadable(money.fields, { total: payload.total, currency: payload.currency }),
      }),
    },
    index: 0,
    warnings: [...time.warnings, ...money.warnings],
  });
}

/** Texts that became neither `value` nor `currency`. */
function keepUnreadable(
  read: { readonly value?: unknown; readonly currency?: unknown },
  given: { readonly total: unknown; readonly currency: unknown },
): JsonObject {
  return {
    ...(read.value === undefined && { value_invalid: given.total }),
    ...(read.currency === undefined && { currency_invalid: given.currency }),
  };
}

const currencyOf = ({ currency }: JsonObject): Placed => ({
  value: currency,
  pointer: '/currency',
});

/** WOOCOMMERCE_ORDER_VALUE: the total, or what Klaviyo's own integrations count. */
function toOrderValue({ payload, rules }: WooRequest): Placed {
  if (rules.orderValue === 'total') return { value: payload.total, pointer: '/total' };
  const parts = [
    ...toLines(payload.line_items).map(({ total }) => toDecimal(total)),
    toDecimal(payload.shipping_total ?? '0'),
  ];
  const readable = parts.filter((part) => part !== undefined);
  // One that cannot be read is not nothing.
  if (readable.length < parts.length) return { value: 'unreadable', pointer: '/line_items' };
  return { value: toNumber(readable.reduce(add, zero)), pointer: '/line_items' };
}

const zero: Decimal = { units: 0n, scale: 0 };

function toPositive({ units, scale }: Decimal): Decimal {
  return { units: units < 0n ? -units : units, scale };
}

type Fields = {
  readonly fields: JsonObject;
  readonly index: number;
  readonly warnings: readonly SourceWarning[];
};

/** The fields that all events of an order share. */
function toEntry(request: WooRequest, { fields, index, warnings }: Fields): SourceEntry {
  const { payload } = request;
  const orderId = asId(payload.id);
  return {
    lane: 'events',
    entry: compact({
      ...fields,
      ...(index === 0 ? toBuyer(payload) : toReadable(toBuyer(payload))),
      order_id: orderId,
    }),
    index,
    ...(orderId !== undefined && { id: orderId }),
    ...toAccount(request),
    ...(warnings.length > 0 && { warnings }),
  };
}

function toOrderProperties(payload: JsonObject): JsonObject {
  const codes = toLines(payload.coupon_lines).flatMap(({ code }) => asText(code) ?? []);
  return compact({
    OrderId: asId(payload.id),
    'Order Number': asId(payload.number),
    'Order Status': asText(payload.status),
    'Discount Codes': codes.length === 0 ? undefined : codes,
    'Total Discounts': toAmountProperty(payload.discount_total),
    'Payment Method': asText(payload.payment_method_title) ?? asText(payload.payment_method),
    'Source Name': asText(payload.created_via),
    BillingAddress: toAddress(payload.billing),
    ShippingAddress: toAddress(payload.shipping),
  });
}

/** Undefined where it is empty: WooCommerce has all fields of an address that nobody gave. */
function toAddress(value: unknown): JsonObject | undefined {
  const address = asObject(value);
  const read = compact({
    FirstName: asText(address.first_name),
    LastName: asText(address.last_name),
    Company: asText(address.company),
    Address1: asText(address.address_1),
    Address2: asText(address.address_2),
    City: asText(address.city),
    RegionCode: asText(address.state),
    CountryCode: asText(address.country),
    Zip: asText(address.postcode),
    Phone: asText(address.phone),
  });
  return Object.keys(read).length === 0 ? undefined : read;
}
