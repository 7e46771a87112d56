import { randomUUID } from 'node:crypto';
import type { Clock, Timer } from '../clock.js';
import { isTestAddress } from './activity.js';
import { toIdentifiers } from './check-profile.js';
import type { ProfileInput } from './check-profile.js';
import type { Counters } from './counters.js';
import type { JsonObject } from './json.js';
import type { ListBook } from './lists.js';
import type { Profile, ProfileBook } from './profiles.js';

/** Why one profile of a job failed; `pointer` is within that profile. */
export type ImportFailure = { readonly detail: string; readonly pointer: string };

/** One profile of a job; `failure` is set by a poison rule. */
export type ImportEntry = {
  readonly profile: ProfileInput;
  readonly failure: ImportFailure | null;
};

/** What `import-errors` shows: no index, only the attributes as they were sent. */
export type ImportError = ImportFailure & {
  readonly id: string;
  readonly originalPayload: JsonObject;
};

/** A job as it is at the moment of asking. There is no `failed`: `failed` counts profiles. */
export type ImportState = {
  readonly id: string;
  readonly status: 'queued' | 'processing' | 'complete';
  /** Epoch ms, as all times here. */
  readonly createdAt: number;
  readonly startedAt: number | null;
  readonly completedAt: number | null;
  readonly total: number;
  readonly completed: number;
  readonly failed: number;
  readonly lists: readonly string[];
  readonly errors: readonly ImportError[];
  readonly profiles: readonly Profile[];
};

/** Klaviyo has a third state, `cancelled`, that nothing here leads to. */
export type Imports = {
  create(entries: readonly ImportEntry[], lists: readonly string[]): ImportState;
  get(id: string): ImportState | undefined;
  /** Newest first. */
  all(): readonly ImportState[];
  close(): void;
};

export type ImportOptions = {
  readonly clock: Clock;
  readonly importDelayMs: number;
  readonly profiles: ProfileBook;
  readonly lists: ListBook;
  readonly counters: Counters;
};

/** Finished jobs kept at most; Klaviyo keeps them for seven days. */
const maxFinished = 10_000;

/** Payloads are held while a job is open and let go when it ends. */
type Open = {
  readonly id: string;
  readonly createdAt: number;
  readonly startsAt: number;
  readonly entries: readonly ImportEntry[];
  readonly lists: readonly string[];
  readonly timer: Timer;
};

/** Import jobs: queued for a third of `importDelayMs`, processing until it is over, then complete. */
export function createImports(options: ImportOptions): Imports {
  const { clock, importDelayMs, counters } = options;
  const open = new Map<string, Open>();
  const finished = new Map<string, ImportState>();
  const unfinishedIdentities = new Map<string, number>();

  const hold = (entries: readonly ImportEntry[], change: 1 | -1): void => {
    for (const { profile } of entries) {
      for (const identifier of toIdentifiers(profile.id, profile.attributes)) {
        const held = (unfinishedIdentities.get(identifier) ?? 0) + change;
        if (held === 0) unfinishedIdentities.delete(identifier);
        else unfinishedIdentities.set(identifier, held);
      }
    }
  };

  const countOverlaps = (entries: readonly ImportEntry[]): void => {
    for (const { profile } of entries) {
      const identifiers = toIdentifiers(profile.id, profile.attributes);
      if (identifiers.some((one) => unfinishedIdentities.has(one))) counters.importOverlaps++;
    }
  };

  const finish = (id: string): void => {
    const job = open.get(id);
    if (job === undefined) return;
    open.delete(id);
    hold(job.entries, -1);
    finished.set(id, run(job, options));
    const [oldest] = finished.keys();
    if (finished.size > maxFinished && oldest !== undefined) finished.delete(oldest);
  };

  const get = (id: string): ImportState | undefined => {
    const job = open.get(id);
    return job === undefined ? finished.get(id) : toOpenState(job, clock.now());
  };

  return {
    create(entries, lists) {
      const id = randomUUID();
      countOverlaps(entries);
      hold(entries, 1);
      const createdAt = clock.now();
      for (const list of lists) options.lists.ensure(list, createdAt);
      const startsAt = createdAt + importDelayMs / 3;
      const timer = clock.setTimer(importDelayMs, () => finish(id));
      const job = { id, createdAt, startsAt, entries, lists, timer };
      open.set(id, job);
      return toOpenState(job, createdAt);
    },
    get,
    all: () => [
      ...[...open.values()].reverse().map((job) => toOpenState(job, clock.now())),
      ...[...finished.values()].reverse(),
    ],
    close() {
      for (const { timer } of open.values()) timer.cancel();
    },
  };
}

function toOpenState(job: Open, now: number): ImportState {
  const started = now >= job.startsAt && now > job.createdAt;
  return {
    id: job.id,
    status: started ? 'processing' : 'queued',
    createdAt: job.createdAt,
    startedAt: started ? job.startsAt : null,
    completedAt: null,
    total: job.entries.length,
    completed: 0,
    failed: 0,
    lists: job.lists,
    errors: [],
    profiles: [],
  };
}

/** Writes what the job holds into the account. */
function run(job: Open, { clock, profiles, lists, counters }: ImportOptions): ImportState {
  const at = clock.now();
  const seen = new Set<string>();
  const written: Profile[] = [];
  const errors: ImportError[] = [];
  for (const { profile, failure } of job.entries) {
    if (failure !== null) {
      errors.push({ id: randomUUID(), ...failure, originalPayload: profile.attributes });
      counters.importFailed++;
      continue;
    }
    const identity = profiles.toIdentity(profile);
    const repeated = identity.some((one) => seen.has(one));
    for (const one of identity) seen.add(one);
    if (repeated) counters.importDuplicates++;
    else if (isTestAddress(profile.attributes.email)) {
      counters.silentlyDropped++;
      counters.droppedTestAddress++;
    } else {
      counters.imported++;
      written.push(profiles.upsert(profile, { at, nullClears: false }).profile);
    }
  }
  for (const list of job.lists) lists.add(list, written, at);
  return {
    ...toOpenState(job, at),
    status: 'complete',
    startedAt: job.startsAt,
    completedAt: at,
    completed: job.entries.length - errors.length,
    failed: errors.length,
    errors,
    profiles: written,
  };
}
