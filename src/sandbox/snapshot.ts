/**
 * The state of the sandbox in forms for the page and for tests.
 */

import type { JsonObject } from '../json/json.js';
import { readString } from './json.js';
import type { Account } from './account.js';
import type { CatalogEntry } from './catalog.js';
import type { ConsentRecord, ConsentType, ListSuppression, Suppression } from './consent.js';
import type { Counters } from './counters.js';
import type { ImportJob } from './import-jobs.js';
import type { Violation } from './limits.js';
import type { Lists } from './lists.js';
import type { DeletionJob } from './profile-jobs.js';
import { getSurvivor } from './profiles.js';
import type { Profile } from './profiles.js';
import type { RecordedEvent } from './activity.js';
import type { LoggedRequest } from './request-log.js';
import type { SuppressionJob } from './suppression-jobs.js';

/** An event for the page and for tests. The API has its own form (resources.ts). */
export type EventView = {
  readonly metric: string;
  readonly profileId: string;
  /** The profile's strongest readable identifier. */
  readonly who: string;
  readonly uniqueId: string;
  /** As sent, or the time of receipt. */
  readonly time: string;
  /** Epoch seconds. */
  readonly timestamp: number;
  readonly properties: JsonObject;
  readonly value: number | null;
  readonly valueCurrency: string | null;
  /** Sent with `backfill: true`: recorded without triggering flows. */
  readonly backfill: boolean;
  /** All times below are epoch ms. */
  readonly recordedAt: number;
};

/** A profile for the page and for tests. */
export type ProfileView = {
  readonly id: string;
  readonly who: string;
  /** Klaviyo's attribute names. Fields that were never set are absent. */
  readonly attributes: JsonObject;
  readonly createdAt: number;
  readonly updatedAt: number;
  readonly lastEventAt: number | null;
  /** Only types that were ever subscribed or unsubscribed. */
  readonly consent: Readonly<Partial<Record<ConsentType, ConsentRecord>>>;
  /** Why the address receives no email marketing. */
  readonly suppressions: readonly Suppression[];
  readonly listSuppressions: readonly ListSuppression[];
  /** The ids of the lists of which it is a member. */
  readonly lists: readonly string[];
};

/** The state for tests. Lists are oldest first. */
export type SandboxState = {
  readonly events: readonly EventView[];
  readonly profiles: readonly ProfileView[];
  readonly imports: readonly ImportJob[];
  readonly suppressionJobs: readonly SuppressionJob[];
  /** Jobs on consent, suppressions and whole profiles whose work is not done yet. */
  readonly openJobs: number;
  readonly deletions: readonly DeletionJob[];
  readonly catalog: {
    readonly items: readonly CatalogEntry[];
    readonly variants: readonly CatalogEntry[];
  };
  readonly requests: readonly LoggedRequest[];
  readonly counters: Readonly<Counters>;
  /** The newest 1,000 violations, and the number of all. */
  readonly violations: readonly Violation[];
  readonly violationCount: number;
};

/** The lists are copies. Their elements are shared and must not be changed. */
export function createSnapshot(account: Account): SandboxState {
  const jobs = [
    ...Object.values(account.consentJobs),
    ...Object.values(account.suppressionJobs),
    ...Object.values(account.profileJobs),
  ];
  return {
    events: account.activity.all().map(toEventView),
    profiles: Array.from(account.profiles.all(), (profile) =>
      toProfileView(profile, account.lists),
    ),
    imports: [...account.importJobs.all()].reverse(),
    suppressionJobs: [
      ...account.suppressionJobs.suppress.all(),
      ...account.suppressionJobs.unsuppress.all(),
    ].sort((a, b) => a.createdAt - b.createdAt),
    openJobs: jobs.reduce((sum, each) => sum + each.openCount(), 0),
    deletions: [...account.profileJobs.deletions.all()].reverse(),
    catalog: {
      items: [...account.catalog.entries.item.values()],
      variants: [...account.catalog.entries.variant.values()],
    },
    requests: account.requests.all(),
    counters: { ...account.counters },
    violations: account.limits.violations(),
    violationCount: account.limits.violationCount(),
  };
}

export function toEventView(event: RecordedEvent): EventView {
  const { uniqueId, time, timestamp, properties, value, valueCurrency, backfill, recordedAt } =
    event;
  const profile = getSurvivor(event.profile);
  return {
    metric: event.metric.name,
    profileId: profile.id,
    who: getDisplayName(profile),
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

export function toProfileView(profile: Profile, lists: Lists): ProfileView {
  const { id, attributes, createdAt, updatedAt, lastEventAt, consent } = profile;
  const { records, suppressions, listSuppressions } = consent;
  return {
    id,
    who: getDisplayName(profile),
    attributes,
    createdAt,
    updatedAt,
    lastEventAt,
    consent: Object.fromEntries(records),
    suppressions,
    listSuppressions,
    lists: lists.ofProfile(profile).map((list) => list.id),
  };
}

function getDisplayName({ id, attributes }: Profile): string {
  const { email, phone_number: phone, external_id: externalId, anonymous_id: visitor } = attributes;
  return (
    readString(email) ?? readString(phone) ?? readString(externalId) ?? readString(visitor) ?? id
  );
}
