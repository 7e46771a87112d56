import type { SourceEntry, SourceWarning } from '../../ingest/source-entry.js';
import type { JsonObject } from '../../json/json.js';
import {
  addDecimals,
  decimalToNumber,
  decimalZero,
  parseDecimal,
  type Decimal,
} from '../decimal.js';
import { asId, asObject, asObjects, asText, compact } from '../json.js';
import { readAmount, readMoney, type LocatedValue } from '../money.js';
import { computeLineSubtotal, describeWooItems, toAmountOrText, toWooItem } from './line-items.js';
import {
  createWooInsertId,
  readWooTime,
  type WooMap,
  type WooRequest,
  type WooTime,
} from './payload.js';
import { dropUnreadablePhone, identifyByAccount, readCustomerId, readWooBuyer } from './person.js';

/**
 * Maps orders. The payload is the whole order (REST API v1 to v3) at the time of the delivery, which can
 * be minutes after the change that raised the webhook; one change raises several webhooks. So the state
 * of the order decides which events it gives, and not the topic. Each event has its own unique id, so
 * that Klaviyo counts it once however often the order is delivered.
 */

/** Statuses of orders that WooCommerce counts as sales. An unpaid `pending` order is not one. */
const placedStatuses: ReadonlySet<string> = new Set(['processing', 'on-hold', 'completed']);

/** Payment methods of WooCommerce whose orders are placed before they are paid. */
const offlineMethods: ReadonlySet<string> = new Set(['bacs', 'cheque', 'cod']);

export const mapWooOrder: WooMap = (request) => {
  const { payload } = request;
  const entries = [
    ...(isPlacedOrder(payload) ? createPlacedOrderEvents(request) : []),
    ...createStatusEvents(request),
    ...createRefundEvents(request),
  ];
  const skip = (reason: string) => ({ entries: [], people: [], skipped: [{ reason }] });
  if (entries.length === 0) return skip('not_placed');
  const isSomebody =
    Object.keys(readWooBuyer(payload)).length > 0 ||
    readCustomerId(payload.customer_id) !== undefined;
  return isSomebody ? { entries, people: [], skipped: [] } : skip('anonymous');
};

/** Some plugins write a status in the form in which WordPress stores it: `wc-processing`. */
function readOrderStatus({ status }: JsonObject): string {
  return (asText(status) ?? '').toLowerCase().replace(/^wc-/, '');
}

/** A paid order was placed, even if a plugin gave it an unknown status or it was cancelled later. */
function isPlacedOrder(payload: JsonObject): boolean {
  return placedStatuses.has(readOrderStatus(payload)) || isPaidOrder(payload);
}

function isPaidOrder(payload: JsonObject): boolean {
  return (asText(payload.date_paid_gmt) ?? asText(payload.date_paid)) !== undefined;
}

function createPlacedOrderEvents(request: WooRequest): readonly SourceEntry[] {
  const { payload } = request;
  const time = readWooTime(payload, ['date_created']);
  const hasTax = payload.prices_include_tax === true;
  const placed = createWooOrderEvent(request, { metric: 'Placed Order', time, hasValue: true });
  const lines = asObjects(payload.line_items).map((line, at): SourceEntry => {
    const rowTotal = computeLineSubtotal(line, hasTax);
    const money = readMoney(
      {
        value: rowTotal === undefined ? line.subtotal : decimalToNumber(rowTotal),
        pointer: `/line_items/${at}/subtotal`,
      },
      locateWooCurrency(payload),
    );
    return createWooEntry(request, {
      fields: {
        event_name: 'Ordered Product',
        ...time.fields,
        insert_id: createWooInsertId(request, asId(line.id) ?? `line-${at}`),
        ...money.fields,
        properties: compact({
          OrderId: asId(payload.id),
          ...toWooItem(line, hasTax),
          ...time.kept,
          ...(rowTotal === undefined && { subtotal: line.subtotal }),
        }),
      },
      index: at + 1,
      // The event of the order already has the warnings about time and currency.
      warnings: money.warnings.filter(({ code }) => code === 'unreadable_amount'),
    });
  });
  return [placed, ...lines];
}

function createStatusEvents(request: WooRequest): readonly SourceEntry[] {
  const { payload } = request;
  const changed = readWooTime(payload, ['date_modified']);
  switch (readOrderStatus(payload)) {
    case 'completed': {
      const time = readWooTime(payload, ['date_completed', 'date_modified']);
      return [createWooOrderEvent(request, { metric: 'Fulfilled Order', time, hasValue: true })];
    }
    case 'cancelled':
      // Klaviyo subtracts the value from the customer's total, so it is given only if it was counted.
      return [
        createWooOrderEvent(request, {
          metric: 'Cancelled Order',
          time: changed,
          hasValue:
            isPaidOrder(payload) || offlineMethods.has(asText(payload.payment_method) ?? ''),
        }),
      ];
    case 'failed':
      return [
        createWooOrderEvent(request, { metric: 'Failed Payment', time: changed, hasValue: false }),
      ];
    default:
      return [];
  }
}

/** An order lists its refunds with ids and negative totals, and without times. */
function createRefundEvents(request: WooRequest): readonly SourceEntry[] {
  const { payload } = request;
  const time = readWooTime(payload, ['date_modified']);
  return asObjects(payload.refunds).map((refund, at) => {
    const total = readAmount(refund.total, asText(payload.currency));
    const paid = total.kind === 'read' ? parseDecimal(total.amount) : undefined;
    const money = readMoney(
      {
        value: paid === undefined ? refund.total : decimalToNumber(absoluteDecimal(paid)),
        pointer: `/refunds/${at}/total`,
      },
      locateWooCurrency(payload),
    );
    const refundId = asId(refund.id);
    return createWooEntry(request, {
      fields: {
        event_name: 'Refunded Order',
        ...time.fields,
        insert_id: createWooInsertId(request, `refund-${refundId ?? `at-${at}`}`),
        ...money.fields,
        properties: compact({
          ...describeWooOrder(payload),
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
  /** False: the amount is a property and not revenue. */
  readonly hasValue: boolean;
};

function createWooOrderEvent(
  request: WooRequest,
  { metric, time, hasValue }: OrderEvent,
): SourceEntry {
  const { payload } = request;
  const money = readMoney(computeWooOrderValue(request), locateWooCurrency(payload));
  const { value, currency } = money.fields;
  const total = readAmount(payload.total, currency);
  return createWooEntry(request, {
    fields: {
      event_name: metric,
      ...time.fields,
      insert_id: createWooInsertId(request),
      ...(hasValue ? money.fields : {}),
      ...(hasValue && total.kind === 'read' && { total_amount: total.amount }),
      properties: compact({
        ...describeWooOrder(payload),
        ...describeWooItems(payload),
        ...(!hasValue && { Amount: value, Currency: currency }),
        ...time.kept,
        ...keepUnreadable(money.fields, { total: payload.total, currency: payload.currency }),
      }),
    },
    index: 0,
    warnings: [...time.warnings, ...money.warnings],
  });
}

/** Texts that could not be read as `value` or `currency`, as properties. */
function keepUnreadable(
  read: { readonly value?: unknown; readonly currency?: unknown },
  given: { readonly total: unknown; readonly currency: unknown },
): JsonObject {
  return {
    ...(read.value === undefined && { value_invalid: given.total }),
    ...(read.currency === undefined && { currency_invalid: given.currency }),
  };
}

const locateWooCurrency = ({ currency }: JsonObject): LocatedValue => ({
  value: currency,
  pointer: '/currency',
});

/** WOOCOMMERCE_ORDER_VALUE: the total, or subtotal and shipping as Klaviyo's own integrations count. */
function computeWooOrderValue({ payload, rules }: WooRequest): LocatedValue {
  if (rules.orderValue === 'total') return { value: payload.total, pointer: '/total' };
  const parts = [
    ...asObjects(payload.line_items).map(({ total }) => parseDecimal(total)),
    parseDecimal(payload.shipping_total ?? '0'),
  ];
  const readable = parts.filter((part) => part !== undefined);
  // A sum without the unreadable part would be wrong, so there is no value.
  if (readable.length < parts.length) return { value: 'unreadable', pointer: '/line_items' };
  return {
    value: decimalToNumber(readable.reduce(addDecimals, decimalZero)),
    pointer: '/line_items',
  };
}

function absoluteDecimal({ units, scale }: Decimal): Decimal {
  return { units: units < 0n ? -units : units, scale };
}

type Fields = {
  readonly fields: JsonObject;
  readonly index: number;
  readonly warnings: readonly SourceWarning[];
};

/** Creates the entry of an event with the fields that all events of an order share. */
function createWooEntry(request: WooRequest, { fields, index, warnings }: Fields): SourceEntry {
  const { payload } = request;
  const orderId = asId(payload.id);
  return {
    lane: 'events',
    entry: compact({
      ...fields,
      ...(index === 0 ? readWooBuyer(payload) : dropUnreadablePhone(readWooBuyer(payload))),
      order_id: orderId,
    }),
    index,
    ...(orderId !== undefined && { id: orderId }),
    ...identifyByAccount(request),
    ...(warnings.length > 0 && { warnings }),
  };
}

function describeWooOrder(payload: JsonObject): JsonObject {
  const codes = asObjects(payload.coupon_lines).flatMap(({ code }) => asText(code) ?? []);
  return compact({
    OrderId: asId(payload.id),
    'Order Number': asId(payload.number),
    'Order Status': asText(payload.status),
    'Discount Codes': codes.length === 0 ? undefined : codes,
    'Total Discounts': toAmountOrText(payload.discount_total),
    'Payment Method': asText(payload.payment_method_title) ?? asText(payload.payment_method),
    'Source Name': asText(payload.created_via),
    BillingAddress: readWooAddress(payload.billing),
    ShippingAddress: readWooAddress(payload.shipping),
  });
}

/** Undefined if it is empty: WooCommerce sends empty fields for an address that was not given. */
function readWooAddress(value: unknown): JsonObject | undefined {
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
