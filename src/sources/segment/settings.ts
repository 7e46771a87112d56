import { z } from 'zod';
import { flag } from '../../config/setting-rules.js';
import { foldSpelling } from './spellings.js';
import type { SettingValues } from '../source.js';

/** The property that holds the value of an event, by the folded name of the event. `*` stands for all other events. */
export type ValueProperties = ReadonlyMap<string, string>;

const valueProperties = z
  .string()
  .default('')
  .transform((text, context): ValueProperties => {
    const pairs = text.split(',').filter((pair) => pair.trim() !== '');
    return new Map(
      pairs.map((pair) => {
        const at = pair.lastIndexOf('=');
        const [event, property] = [
          pair.slice(0, Math.max(at, 0)).trim(),
          pair.slice(at + 1).trim(),
        ];
        if (event === '' || property === '') {
          context.addIssue('must be pairs such as Trial Started=plan_price, comma-separated');
        }
        return [event === '*' ? event : foldSpelling(event), property];
      }),
    );
  });

/** Environment variables of the source. */
export const segmentSettings = {
  SEGMENT_PAGE_EVENTS: flag
    .default(true)
    .describe('Whether page and screen calls of Segment and RudderStack SDKs become events'),
  SEGMENT_REMEMBER_USERS: flag
    .default(true)
    .describe(
      'Whether the e-mail address and phone number of an identify call complete later calls with the same userId',
    ),
  SEGMENT_ECOMMERCE: z
    .enum(['klaviyo', 'as-is'], { error: 'must be klaviyo or as-is' })
    .default('klaviyo')
    .describe(
      "Names and products of the e-commerce specification: `klaviyo` sends those that Klaviyo's stock flows listen to (Order Completed becomes Placed Order and an Ordered Product for each product), `as-is` the names of the SDK",
    ),
  SEGMENT_ORDER_IDS: flag
    .default(true)
    .describe(
      'Whether a completed order has its unique_id from the id of the order, so that a second call for the order is a duplicate',
    ),
  SEGMENT_VALUE_PROPERTIES: valueProperties.describe(
    'Properties that are the value of an event, beside `revenue`: `Trial Started=plan_price,Lead Won=value`; `*` is every event. Absent: none',
  ),
} as const;

export type SegmentSettings = SettingValues<typeof segmentSettings>;
