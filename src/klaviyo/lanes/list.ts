import type { Lane } from '../../model/lane.js';
import { erase } from './erase.js';
import { addToList } from './add-to-list.js';
import { events } from './events.js';
import type { LaneApi } from './lane.js';
import { profiles } from './profiles.js';
import { removeFromList } from './remove-from-list.js';
import { subscribe } from './subscribe.js';
import { suppress } from './suppress.js';
import { unsubscribe } from './unsubscribe.js';
import { unsuppress } from './unsuppress.js';
import { updateProfile } from './update-profile.js';

/** The endpoint of each lane. lane.ts explains how to add one. */
export const laneApis = {
  events,
  profiles,
  subscribe,
  unsubscribe,
  suppress,
  unsuppress,
  update_profile: updateProfile,
  erase,
  add_to_list: addToList,
  remove_from_list: removeFromList,
} as const satisfies Readonly<Record<Lane, LaneApi>>;

/** The endpoint of a lane, without the literal types of its texts. */
export const getLaneApi = (lane: Lane): LaneApi => laneApis[lane];

const listScopes = (apis: readonly LaneApi[]): readonly string[] => [
  ...new Set(apis.flatMap(({ scopes, pollScopes = [] }) => [...scopes, ...pollScopes])),
];

const apis = Object.values<LaneApi>(laneApis);

/** The scopes that every relay needs, each once. */
export const neededScopes = listScopes(apis.filter(({ isOptional }) => isOptional !== true));
