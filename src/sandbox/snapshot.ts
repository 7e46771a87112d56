import type { Account } from './account.js';
import type { Counters } from './counters.js';
import type { ImportState } from './imports.js';
import type { JsonObject } from './json.js';
import { toText } from './json.js';
import type { Violation } from './limits.js';
import { toSurvivor } from './profiles.js';
import type { Profile } from './profiles.js';
import type { RecordedEvent } from './activity.js';
import type { LoggedRequest } from './request-log.js';

/** An event for people and tests; the API has its own form. */
export type EventView = {
  readonly metric: string;
  readonly profileId: string;
  /** The profile's strongest readable identifier. */
  readonly who: string;
  readonly uniqueId: string;
  /** As it was sent; the time of receipt where nothing was. */
  readonly time: string;
  /** Epoch seconds. */
  readonly timestamp: number;
  readonly properties: JsonObject;
  readonly value: number | null;
  readonly valueCurrency: string | null;
  /** Sent with `backfill: true`: recorded, and no flow would be triggered. */
  readonly backfill: boolean;
  /** Epoch ms, as below. */
  readonly recordedAt: number;
};

/** A profile for people and tests. */
export type ProfileView = {
  readonly id: string;
  readonly who: string;
  /** Klaviyo's attribute names; a field that was never set is absent. */
  readonly attributes: JsonObject;
  readonly createdAt: number;
  readonly updatedAt: number;
  readonly lastEventAt: number | null;
};

/** What tests look at; lists are oldest first. */
export type SandboxState = {
  readonly events: readonly EventView[];
  readonly profiles: readonly ProfileView[];
  readonly imports: readonly ImportState[];
  readonly requests: readonly LoggedRequest[];
  readonly counters: Readonly<Counters>;
  /** The newest 1,000, and how many there were. */
  readonly violations: readonly Violation[];
  readonly violationCount: number;
};

/** A copy of the lists; what they hold is shared and not to be changed. */
export function toState(account: Account): SandboxState {
  return {
    events: account.activity.all().map(toEventView),
    profiles: Array.from(account.profiles.all(), toProfileView),
    imports: [...account.imports.all()].reverse(),
    requests: account.requests.all(),
    counters: { ...account.counters },
    violations: account.limits.violations(),
    violationCount: account.limits.violationCount(),
  };
}

export function toEventView(event: RecordedEvent): EventView {
  const { uniqueId, time, timestamp, properties, value, valueCurrency, backfill, recordedAt } =
    event;
  const profile = toSurvivor(event.profile);
  return {
    metric: event.metric.name,
    profileId: profile.id,
    who: toWho(profile),
    uniqueId,
    time,
    timestamp,
    properties,
    value,
    valueCurrency,
    backfill,
    recordedAt,
  };
}

export function toProfileView(profile: Profile): ProfileView {
  const { id, attributes, createdAt, updatedAt, lastEventAt } = profile;
  return { id, who: toWho(profile), attributes, createdAt, updatedAt, lastEventAt };
}

function toWho({ id, attributes }: Profile): string {
  const { email, phone_number: phone, external_id: externalId, anonymous_id: visitor } = attributes;
  return toText(email) ?? toText(phone) ?? toText(externalId) ?? toText(visitor) ?? id;
}
