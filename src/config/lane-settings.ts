import { laneApis } from '../klaviyo/lanes/list.js';
import type { LaneApi } from '../klaviyo/lanes/lane.js';
import type { Lane } from '../model/lane.js';
import { int, windows } from './setting-rules.js';

/** The settings of each lane, derived from the list of lanes. */

type Prefix = (typeof laneApis)[Lane]['settings']['prefix'];

const toCountRule = ({ settings }: LaneApi) =>
  int(1, settings.maxCount, settings.maxCount).describe(
    `Maximum number of ${settings.noun} in a request`,
  );

const toIntervalRule = ({ settings }: LaneApi) =>
  int(0, 3_600_000, 1000).describe(`Age at which a batch of ${settings.noun} is sent, full or not`);

const toWindowsRule = ({ settings }: LaneApi) =>
  windows.prefault(settings.rateWindows).describe(`Klaviyo's rate windows for ${settings.limited}`);

type Rules = {
  readonly [P in Prefix as `${P}_BATCH_MAX_COUNT`]: ReturnType<typeof toCountRule>;
} & {
  readonly [P in Prefix as `${P}_FLUSH_INTERVAL_MS`]: ReturnType<typeof toIntervalRule>;
} & {
  readonly [P in Prefix as `${P}_RATE_WINDOWS`]: ReturnType<typeof toWindowsRule>;
};

export const laneSettings = Object.fromEntries(
  Object.values<LaneApi>(laneApis).flatMap((api) => [
    [`${api.settings.prefix}_BATCH_MAX_COUNT`, toCountRule(api)],
    [`${api.settings.prefix}_FLUSH_INTERVAL_MS`, toIntervalRule(api)],
    [`${api.settings.prefix}_RATE_WINDOWS`, toWindowsRule(api)],
  ]),
) as Rules;

type LaneConfig = { readonly [Name in keyof Rules]: ReturnType<Rules[Name]['parse']> };

/** Reads the settings of a lane. */
export const selectLaneSettings = (config: LaneConfig, lane: Lane) => {
  const { prefix } = laneApis[lane].settings;
  return {
    maxCount: config[`${prefix}_BATCH_MAX_COUNT`],
    maxAgeMs: config[`${prefix}_FLUSH_INTERVAL_MS`],
    rateWindows: config[`${prefix}_RATE_WINDOWS`],
  };
};
