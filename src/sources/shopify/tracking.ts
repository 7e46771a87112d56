import type { JsonObject } from '../../json/json.js';
import { asList, asText } from '../json.js';
import { distinct } from './goods.js';

/** What a fulfilment says of its parcels, as properties. */
export function toTracking(fulfilment: JsonObject): JsonObject {
  const toAll = (list: unknown, one: unknown): readonly string[] =>
    distinct([one, ...asList(list)].map(asText));
  const numbers = toAll(fulfilment.tracking_numbers, fulfilment.tracking_number);
  const urls = toAll(fulfilment.tracking_urls, fulfilment.tracking_url);
  return {
    TrackingCompany: asText(fulfilment.tracking_company),
    TrackingNumber: numbers[0],
    TrackingURL: urls[0],
    TrackingNumbers: numbers.length > 1 ? numbers : undefined,
    TrackingURLs: urls.length > 1 ? urls : undefined,
  };
}
