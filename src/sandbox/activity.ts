import type { EventInput } from './check-event.js';
import type { ProfileInput } from './check-profile.js';
import { toText } from './json.js';
import type { JsonObject } from './json.js';
import type { Counters } from './counters.js';
import type { Profile, ProfileBook } from './profiles.js';
import { createRing } from './ring.js';

/** Klaviyo makes a metric of every event name it meets. */
export type Metric = {
  readonly id: string;
  readonly name: string;
  /** Epoch ms. */
  readonly createdAt: number;
  updatedAt: number;
};

/** An event as Klaviyo's activity feed would show it. Holds the profile itself: its id changes when profiles are joined. */
export type RecordedEvent = {
  readonly id: string;
  readonly metric: Metric;
  readonly profile: Profile;
  /** As sent, or the second of its time where nothing was sent. */
  readonly uniqueId: string;
  /** As sent, or the time it was received. */
  readonly time: string;
  /** Epoch seconds: Klaviyo keeps no finer time. */
  readonly timestamp: number;
  readonly properties: JsonObject;
  readonly value: number | null;
  readonly valueCurrency: string | null;
  /** Sent with `backfill: true`: no flow would be triggered. */
  readonly backfill: boolean;
  /** Epoch ms. */
  readonly recordedAt: number;
};

/** The activity feed, and the memory of every unique_id it ever took. */
export type Activity = {
  /** `at`: epoch ms of the request. Counts what became of the event. */
  record(profile: ProfileInput, event: EventInput, at: number): void;
  /** Newest first, as far as the feed keeps them. */
  newest(limit: number): readonly RecordedEvent[];
  all(): readonly RecordedEvent[];
  metrics(): readonly Metric[];
};

export type ActivityOptions = {
  readonly profiles: ProfileBook;
  readonly counters: Counters;
  readonly maxEvents: number;
};

/** `maxEvents` bounds the feed, never the counters or the memory of ids. */
export function createActivity({ profiles, counters, maxEvents }: ActivityOptions): Activity {
  const feed = createRing<RecordedEvent>(maxEvents);
  const metrics = new Map<string, Metric>();
  const known = createKnownIds();

  const toMetric = (name: string, at: number): Metric => {
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
      if (!known.add(`${profile.id}\n${event.metric}\n${uniqueId}`)) {
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
        metric: toMetric(event.metric, at),
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
  };
}

/** With a unique_id a repeat is harmless; without, two events of one second are one, and the other is lost. */
function countRepeat(counters: Counters, event: EventInput): void {
  if (event.uniqueId !== null) counters.repeats++;
  else {
    counters.silentlyDropped++;
    counters.droppedSameSecond++;
  }
}

/** Klaviyo answers 202 for these two domains and then drops what came with them. */
export function isTestAddress(email: unknown): boolean {
  return /@(?:example|test)\.com$/i.test(toText(email) ?? '');
}

/** A Set holds 2^24 entries at most, which a long load test reaches. */
function createKnownIds(maxPerSet = 8_000_000): { add(id: string): boolean } {
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
