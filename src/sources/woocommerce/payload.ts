import { hash } from 'node:crypto';
import type { SourcePost, SourceWarning } from '../../ingest/source-entry.js';
import type { JsonObject } from '../../json/json.js';
import { asId, asList, asObject, asText } from '../json.js';
import { readTime } from '../time.js';

/** The settings of the source that maps read. */
export type WooRules = {
  /** WOOCOMMERCE_ORDER_VALUE. */
  readonly orderValue: 'total' | 'subtotal_and_shipping';
  /** WOOCOMMERCE_CUSTOMER_ID: false keeps a customer's id as a property. */
  readonly hasCustomerIds: boolean;
  /** WOOCOMMERCE_CUSTOMER_META. */
  readonly customerMeta: readonly string[];
};

/** One webhook: what its headers name, its body as JSON, and the settings. */
export type WooRequest = {
  /** Such as `order.updated`. */
  readonly topic: string;
  /** Host of the shop, such as `shop.example.com`. Empty if nothing names it. */
  readonly shop: string;
  readonly payload: JsonObject;
  readonly rules: WooRules;
};

export type WooMap = (request: WooRequest) => Pick<SourcePost, 'entries' | 'people' | 'skipped'>;

/** Finds the host of the shop in the links of the payload, which are signed, else in the header. */
export function findShopHost(payload: JsonObject, header: string | undefined): string {
  const self = asList(asObject(payload._links).self);
  const url = [asText(asObject(self[0]).href), header].find(
    (each): each is string => each !== undefined && URL.canParse(each),
  );
  return url === undefined ? '' : new URL(url).host;
}

/**
 * Creates the unique id of an event of an order, the same for every webhook about it. Two shops may use
 * the same order ids, so the id includes the order key, which is unique and never changes. The order key
 * gives guests access to the order, so it is hashed.
 */
export function createWooInsertId(
  { payload, shop }: Pick<WooRequest, 'payload' | 'shop'>,
  part?: string,
): string | undefined {
  const id = asId(payload.id);
  const key = asText(payload.order_key);
  if (id === undefined) return undefined;
  const order = key === undefined ? shop : hash('sha256', key, 'hex').slice(0, 16);
  return ['woocommerce', order, id, ...(part === undefined ? [] : [part])].join(':').slice(0, 255);
}

/** The time of an event, and warnings about what could not be read. */
export type WooTime = {
  readonly fields: { readonly event_time?: string };
  /** Texts that could not be read, by the name of their field. */
  readonly kept: JsonObject;
  readonly warnings: readonly SourceWarning[];
};

const withZone = /(?:z|[-+]\d{2}:?\d{2})$/i;

/**
 * Reads a time such as `date_created`. WooCommerce writes each time twice: `date_created` in the time zone
 * of the shop without an offset, and `date_created_gmt`. Only the second is unambiguous. The first of
 * `names` that is present counts.
 */
export function readWooTime(payload: JsonObject, names: readonly string[]): WooTime {
  for (const name of names) {
    const gmt = `${name}_gmt`;
    const utc = asText(payload[gmt]);
    if (utc !== undefined) return readWooTimeText(gmt, utc);
    const local = asText(payload[name]);
    if (local !== undefined) {
      const detail = `has no offset, and there is no ${gmt}; the event has the time of its receipt`;
      return withZone.test(local)
        ? readWooTimeText(name, local)
        : {
            fields: {},
            kept: { [name]: local },
            warnings: [{ code: 'no_time_zone', pointer: `/${name}`, detail }],
          };
    }
  }
  return { fields: {}, kept: {}, warnings: [] };
}

function readWooTimeText(name: string, text: string): WooTime {
  const time = readTime(text);
  if (time.kind === 'read') {
    return { fields: { event_time: new Date(time.at).toISOString() }, kept: {}, warnings: [] };
  }
  const detail = `${time.kind === 'unreadable' ? time.detail : 'is no time'}; the event has the time of its receipt`;
  return {
    fields: {},
    kept: { [name]: text },
    warnings: [{ code: 'unreadable_time', pointer: `/${name}`, detail }],
  };
}
