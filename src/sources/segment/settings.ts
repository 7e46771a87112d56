import { flag } from '../../setting-rules.js';
import type { SettingValues } from '../source.js';

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
} as const;

export type SegmentSettings = SettingValues<typeof segmentSettings>;
