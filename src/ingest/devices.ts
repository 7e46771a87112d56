import { z } from 'zod';
import type { Fact } from '../model/fact.js';
import { isJsonObject } from '../json/json.js';
import { limits } from './limits.js';
import { toFactKey, type Complete, type Finding } from './people.js';
import type { ToE164 } from './phone.js';
import { isEmail } from './schema.js';
import type { Device, Person, SourceEntry, SourcePost } from './source-entry.js';

/**
 * Devices and the people who were seen with them. An event whose profile has both an anonymous id and
 * another identifier makes Klaviyo merge the two, for good. So the relay sends both only where it has
 * seen one person with the device: the fact of a device holds that person, or that there are several.
 */

/** What is known of one device. */
type DeviceState = {
  /** The one person seen with it. */
  readonly owner: Person | null;
  /** Several people were seen with it. It stays so. */
  readonly isShared: boolean;
  /** It had an event that named nobody. */
  readonly hadAnonymous: boolean;
};

const unseen: DeviceState = { owner: null, isShared: false, hadAnonymous: false };

const stateSchema = z.object({
  owner: z
    .object({
      email: z.string().max(limits.emailChars).optional(),
      distinct_id: z.string().max(limits.externalIdChars).optional(),
      phone_number: z.string().max(limits.phoneNumberChars).optional(),
    })
    .nullable(),
  isShared: z.boolean(),
  hadAnonymous: z.boolean(),
});

/** Devices whose newest state is kept in memory, so that requests at the same time see each other. */
const maxRecent = 10_000;

/** Facts that are looked up in one go. */
const keysPerStep = 100;

export type CompleteWithDevices = {
  /** Null: the entry is left out. */
  readonly complete: (entry: SourceEntry) => SourceEntry | null;
  readonly facts: readonly Fact[];
};

export class Devices {
  /** By fact key, oldest first. */
  readonly #recent = new Map<string, DeviceState>();

  /** `complete` adds what is known of the people whom the entries name. */
  async find(
    { source, entries }: SourcePost,
    { complete, getFacts, toE164, slices }: Finding & { readonly complete: Complete },
  ): Promise<CompleteWithDevices> {
    const seen = new Map<string, (Person | null)[]>();
    for (const entry of entries) {
      const { device } = entry;
      if (device === undefined) continue;
      if (slices.isUsedUp()) await slices.startNext();
      const key = toFactKey(source, 'device', device.id);
      const people = seen.get(key) ?? [];
      if (device.isJoin !== true) people.push(toOwner(complete(entry), toE164));
      seen.set(key, people);
    }
    const keys = [...seen.keys()];
    const states = new Map<string, DeviceState>();
    for (let from = 0; from < keys.length; from += keysPerStep) {
      if (slices.isUsedUp()) await slices.startNext();
      const some = keys.slice(from, from + keysPerStep);
      const found = await getFacts(some);
      some.forEach((key, index) => {
        const before = merge(parse(found[index] ?? null), this.#recent.get(key) ?? unseen);
        const state = (seen.get(key) ?? []).reduce(add, before);
        this.#keep(key, state);
        states.set(key, state);
      });
    }
    const facts = [...states].map(([key, state]): Fact => {
      return { kind: 'device', key, value: JSON.stringify(state) };
    });
    return {
      complete(entry) {
        const { device } = entry;
        const known = complete(entry);
        if (device === undefined) return takeLastResort(known);
        const state = states.get(toFactKey(source, 'device', device.id)) ?? unseen;
        return addDevice(known, { device, state, toE164 });
      },
      facts,
    };
  }

  #keep(key: string, state: DeviceState): void {
    this.#recent.delete(key);
    this.#recent.set(key, state);
    for (const oldest of this.#recent.keys()) {
      if (this.#recent.size <= maxRecent) return;
      this.#recent.delete(oldest);
    }
  }
}

type Addition = {
  readonly device: Device;
  readonly state: DeviceState;
  readonly toE164: ToE164;
};

function addDevice(known: SourceEntry, { device, state, toE164 }: Addition): SourceEntry | null {
  const { owner, isShared, hadAnonymous } = state;
  if (known.lane !== 'events') return known;
  const isNamed = toOwner(known, toE164) !== null;
  if (device.isJoin === true && (isShared || !hadAnonymous || !isNamed)) return null;
  const named = isNamed ? known : { ...known, entry: { ...known.entry, ...owner } };
  const resorted = takeLastResort(named);
  if (resorted !== named || (isShared && isNamed)) return resorted;
  return { ...named, entry: { ...named.entry, anonymous_id: device.id } };
}

/** The last resort names somebody who may be another person: it goes without any other identifier. */
function takeLastResort(known: SourceEntry): SourceEntry {
  const { lastResort, entry } = known;
  if (lastResort === undefined || !isEmail(lastResort)) return known;
  if (entry.email !== undefined || entry.phone_number !== undefined) return known;
  const others = Object.entries(entry).filter(([name]) => name !== 'distinct_id');
  return { ...known, entry: { ...Object.fromEntries(others), email: lastResort } };
}

/** Whom an entry names by valid identifiers, without its device. */
function toOwner({ entry }: SourceEntry, toE164: ToE164): Person | null {
  const { email, distinct_id: id, phone_number: phone, location } = entry;
  const country = isJsonObject(location) ? location.country : undefined;
  const place = typeof country === 'string' ? country : undefined;
  const number = typeof phone === 'string' ? toE164(phone, place) : null;
  const owner = {
    ...(typeof email === 'string' && isEmail(email) && { email: email.trim().toLowerCase() }),
    ...(typeof id === 'string' && id.length <= limits.externalIdChars && { distinct_id: id }),
    ...(number !== null && { phone_number: number }),
  };
  return Object.keys(owner).length === 0 ? null : owner;
}

function add(state: DeviceState, person: Person | null): DeviceState {
  if (person === null) return { ...state, hadAnonymous: true };
  if (state.isShared) return state;
  if (state.owner === null) return { ...state, owner: person };
  return isSame(state.owner, person)
    ? { ...state, owner: { ...state.owner, ...person } }
    : { ...state, owner: null, isShared: true };
}

function merge(one: DeviceState, other: DeviceState): DeviceState {
  const merged = other.owner === null ? one : add(one, other.owner);
  const isShared = merged.isShared || other.isShared;
  return {
    owner: isShared ? null : merged.owner,
    isShared,
    hadAnonymous: one.hadAnonymous || other.hadAnonymous,
  };
}

/** The source's own id of a person decides; without it one identifier in common is enough. */
function isSame(one: Person, other: Person): boolean {
  const isBoth = (name: keyof Person): boolean =>
    one[name] !== undefined && other[name] !== undefined;
  if (isBoth('distinct_id')) return one.distinct_id === other.distinct_id;
  if (isBoth('email')) return one.email === other.email;
  return isBoth('phone_number') && one.phone_number === other.phone_number;
}

function parse(value: string | null): DeviceState {
  if (value === null) return unseen;
  return stateSchema.safeParse(JSON.parse(value)).data ?? unseen;
}
