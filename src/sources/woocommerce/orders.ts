import type { JsonObject } from '../../json/json.js';
import type { SourceEntry, SourceWarning } from '../../ingest/source-entry.js';
import { addDecimals, parseDecimal, decimalToNumber, type Decimal } from '../decimal.js';
import { asId, asObject, asText, compact } from '../json.js';
import { readAmount, readMoney, type LocatedValue } from '../money.js';
import {
  toAmountOrText,
  describeWooItems,
  toWooItem,
  asObjects,
  computeLineSubtotal,
} from './goods.js';
import { identifyByAccount, readWooBuyer, readCustomerId, dropUnreadablePhone } from './person.js';
import { createWooInsertId, type WooMap, type WooRequest } from './request.js';
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

/** Some plugins write the name under which WordPress stores a status: `wc-processing`. */
function readOrderStatus({ status }: JsonObject): string {
  return (asText(status) ?? '').toLowerCase().replace(/^wc-/, '');
}

/** A paid order was placed, whatever became of it and whatever a plugin calls its status. */
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
      // The order's event has what is wrong with its time and its currency.
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
      // Klaviyo takes the value off what the customer has spent: only where it was counted.
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

/** An order lists its refunds with their ids and totals, which are negative, and without a time. */
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
  /** False: the amount is a property, and no revenue. */
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

const locateWooCurrency = ({ currency }: JsonObject): LocatedValue => ({
  value: currency,
  pointer: '/currency',
});

/** WOOCOMMERCE_ORDER_VALUE: the total, or what Klaviyo's own integrations count. */
function computeWooOrderValue({ payload, rules }: WooRequest): LocatedValue {
  if (rules.orderValue === 'total') return { value: payload.total, pointer: '/total' };
  const parts = [
    ...asObjects(payload.line_items).map(({ total }) => parseDecimal(total)),
    parseDecimal(payload.shipping_total ?? '0'),
  ];
  const readable = parts.filter((part) => part !== undefined);
  // One that cannot be read is not nothing.
  if (readable.length < parts.length) return { value: 'unreadable', pointer: '/line_items' };
  return { value: decimalToNumber(readable.reduce(addDecimals, zero)), pointer: '/line_items' };
}

const zero: Decimal = { units: 0n, scale: 0 };

function absoluteDecimal({ units, scale }: Decimal): Decimal {
  return { units: units < 0n ? -units : units, scale };
}

type Fields = {
  readonly fields: JsonObject;
  readonly index: number;
  readonly warnings: readonly SourceWarning[];
};

/** The fields that all events of an order share. */
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

/** Undefined where it is empty: WooCommerce has all fields of an address that nobody gave. */
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
