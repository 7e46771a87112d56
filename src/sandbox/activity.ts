/**
 * The activity feed of the account: the recorded events and their metrics. Imitates how Klaviyo
 * deduplicates events (Events API overview, "unique_id"): an event with the profile, metric and
 * `unique_id` of an earlier event is not recorded. Without `unique_id` the second of the event's
 * time stands for it.
 */

import type { JsonObject } from '../json/json.js';
import { readString } from './json.js';
import type { EventInput } from './check-event.js';
import type { ProfileInput } from './check-profile.js';
import type { Counters } from './counters.js';
import { getSurvivor } from './profiles.js';
import type { Profile, Profiles } from './profiles.js';
import { createRing } from './ring.js';

/** Klaviyo creates a metric for each new event name. */
export type Metric = {
  readonly id: string;
  readonly name: string;
  /** Epoch ms. */
  readonly createdAt: number;
  updatedAt: number;
};

/**
 * An event as Klaviyo's activity feed shows it. It refers to the profile and not to its id, because
 * the id changes when profiles are merged.
 */
export type RecordedEvent = {
  readonly id: string;
  readonly metric: Metric;
  readonly profile: Profile;
  /** As sent, or the second of the event's time if the event had none. */
  readonly uniqueId: string;
  /** As sent, or the time of receipt. */
  readonly time: string;
  /** Epoch seconds, Klaviyo's resolution. */
  readonly timestamp: number;
  readonly properties: JsonObject;
  readonly value: number | null;
  readonly valueCurrency: string | null;
  /** Sent with `backfill: true`: the event triggers no flow. */
  readonly backfill: boolean;
  /** Epoch ms. */
  readonly recordedAt: number;
};

/** The recorded events, and the unique ids of all events since the last reset. */
export type Activity = {
  /** `at`: epoch ms of the request. Updates the counters. */
  record(profile: ProfileInput, event: EventInput, at: number): void;
  /** Newest first, up to the bound of the feed. */
  newest(limit: number): readonly RecordedEvent[];
  all(): readonly RecordedEvent[];
  metrics(): readonly Metric[];
  /** Removes the events of a deleted profile. */
  forget(profile: Profile): void;
};

export type ActivityOptions = {
  readonly profiles: Profiles;
  readonly counters: Counters;
  readonly maxEvents: number;
};

/** `maxEvents` bounds the feed, but neither the counters nor the set of unique ids. */
export function createActivity({ profiles, counters, maxEvents }: ActivityOptions): Activity {
  const feed = createRing<RecordedEvent>(maxEvents);
  const metrics = new Map<string, Metric>();
  const recordedIds = createIdSet();

  const upsertMetric = (name: string, at: number): Metric => {
    const id = `M${(metrics.size + 1).toString(36).toUpperCase().padStart(5, '0')}`;
    const metric = metrics.get(name) ?? { id, name, createdAt: at, updatedAt: at };
    metric.updatedAt = at;
    metrics.set(name, metric);
    return metric;
  };

  return {
    record(profileInput, event, at) {
      if (isTestAddress(profileInput.attributes.email)) {
        counters.silentlyDropped++;
        counters.droppedTestAddress++;
        return;
      }
      const { profile } = profiles.upsert(profileInput, { at, nullClears: false });
      const time = event.time ?? new Date(at).toISOString();
      const timestamp = Math.floor((event.timeMs ?? at) / 1000);
      const uniqueId = event.uniqueId ?? String(timestamp);
      if (!recordedIds.add(`${profile.id}\n${event.metric}\n${uniqueId}`)) {
        countRepeat(counters, event);
        return;
      }
      counters.recorded++;
      const backfill = event.backfill === true;
      if (backfill) counters.backfilled++;
      profile.lastEventAt = Math.max(profile.lastEventAt ?? 0, timestamp * 1000);
      const { properties, value, valueCurrency } = event;
      feed.push({
        id: `E${counters.recorded.toString(36).toUpperCase().padStart(9, '0')}`,
        metric: upsertMetric(event.metric, at),
        profile,
        uniqueId,
        time,
        timestamp,
        properties,
        value,
        valueCurrency,
        backfill,
        recordedAt: at,
      });
    },
    newest: feed.newest,
    all: feed.all,
    metrics: () => [...metrics.values()],
    forget: (profile) => feed.remove((event) => getSurvivor(event.profile) === profile),
  };
}

/**
 * A repeated `unique_id` loses nothing. Without `unique_id`, the second of two events in the same
 * second is lost.
 */
function countRepeat(counters: Counters, event: EventInput): void {
  if (event.uniqueId !== null) counters.repeats++;
  else {
    counters.silentlyDropped++;
    counters.droppedSameSecond++;
  }
}

/** For these two domains Klaviyo responds with 202 and drops the event or profile. */
export function isTestAddress(email: unknown): boolean {
  return /@(?:example|test)\.com$/i.test(readString(email) ?? '');
}

/** Several sets, because a Set holds at most 2^24 entries and a long load test reaches that. */
function createIdSet(maxPerSet = 8_000_000): { add(id: string): boolean } {
  const sets = [new Set<string>()];
  let last = new Set<string>();
  sets[0] = last;
  return {
    add(id) {
      if (sets.some((set) => set.has(id))) return false;
      if (last.size >= maxPerSet) sets.push((last = new Set()));
      last.add(id);
      return true;
    },
  };
}
