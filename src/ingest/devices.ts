import { z } from 'zod';
import type { Clock } from '../clock.js';
import type { Fact } from '../model/fact.js';
import { isJsonObject } from '../json/json.js';
import { limits } from './limits.js';
import { toFactKey } from './facts.js';
import type { Complete, LookupDeps } from './people.js';
import type { ToE164 } from './phone.js';
import { isEmail } from './schema.js';
import type { Device, Person, SourceEntry, SourcePost } from './source-entry.js';

/**
 * Devices and the people who were seen with them. An event whose profile has both an anonymous id and
 * another identifier makes Klaviyo merge the two profiles, and the merge cannot be undone. So the relay
 * sends both only if it has seen exactly one person with the device. The fact of a device holds that
 * person, or that there are several.
 */

/** The fact of one device. */
type DeviceState = {
  /** The only person who was seen with the device; null if there is none, or several. */
  readonly owner: Person | null;
  /** Several people were seen with the device. Never becomes false again. */
  readonly isShared: boolean;
  /** The device had an event that named no person. */
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

/** Devices whose newest state is kept in memory, so that concurrent requests see each other's people. */
const maxRecent = 10_000;

/**
 * Time for which a state in memory is used. By then, the request that found it has stored it. Other relays may
 * have changed the stored state since, for example to erase the person.
 */
const recentMs = 10_000;

type Recent = { readonly state: DeviceState; /** Monotonic ms. */ readonly since: number };

/** Facts that are looked up in one step. */
const devicesPerStep = 100;

export type CompleteWithDevices = {
  /** Returns null if the entry is left out. */
  readonly complete: (entry: SourceEntry) => SourceEntry | null;
  readonly facts: readonly Fact[];
};

export class Devices {
  /** By fact key, oldest first. */
  readonly #recent = new Map<string, Recent>();
  readonly #clock: Pick<Clock, 'monotonic'>;

  constructor(clock: Pick<Clock, 'monotonic'>) {
    this.#clock = clock;
  }

  /** Forgets the states in memory; the stored ones stay. */
  clear(): void {
    this.#recent.clear();
  }

  /** Looks up the devices of a post and adds its people to them. `complete` adds what is known about people. */
  async find(
    { source, entries }: SourcePost,
    { complete, getFacts, toE164, slices }: LookupDeps & { readonly complete: Complete },
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
    for (let from = 0; from < keys.length; from += devicesPerStep) {
      if (slices.isUsedUp()) await slices.startNext();
      const some = keys.slice(from, from + devicesPerStep);
      const found = await getFacts(some);
      some.forEach((key, index) => {
        const before = mergeStates(
          parseState(found[index] ?? null),
          this.#findRecent(key)?.state ?? unseen,
        );
        const state = (seen.get(key) ?? []).reduce(addPerson, before);
        this.#setRecent(key, state);
        states.set(key, state);
      });
    }
    const facts = [...states].map(([key, state]): Fact => {
      return { kind: 'device', key, value: JSON.stringify(state) };
    });
    return {
      complete(entry) {
        const { device } = entry;
        const completed = complete(entry);
        if (device === undefined) return useLastResort(completed);
        const state = states.get(toFactKey(source, 'device', device.id)) ?? unseen;
        return addDevice(completed, { device, state, toE164 });
      },
      facts,
    };
  }

  #findRecent(key: string): Recent | undefined {
    const recent = this.#recent.get(key);
    const isRecent = recent !== undefined && this.#clock.monotonic() - recent.since < recentMs;
    return isRecent ? recent : undefined;
  }

  /** A state that does not change keeps its time, so that a busy device cannot keep it in memory. */
  #setRecent(key: string, state: DeviceState): void {
    const before = this.#findRecent(key);
    const isSame = before !== undefined && JSON.stringify(before.state) === JSON.stringify(state);
    const since = isSame ? before.since : this.#clock.monotonic();
    this.#recent.delete(key);
    this.#recent.set(key, { state, since });
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
  const resorted = useLastResort(named);
  if (resorted !== named || (isShared && isNamed)) return resorted;
  return { ...named, entry: { ...named.entry, anonymous_id: device.id } };
}

/** Uses the last resort if nothing else gives an address or number. It may be another person's, so it replaces all other identifiers. */
function useLastResort(known: SourceEntry): SourceEntry {
  const { lastResort, entry } = known;
  if (lastResort === undefined || !isEmail(lastResort)) return known;
  if (entry.email !== undefined || entry.phone_number !== undefined) return known;
  const others = Object.entries(entry).filter(([name]) => name !== 'distinct_id');
  return { ...known, entry: { ...Object.fromEntries(others), email: lastResort } };
}

/** The person that an entry identifies by valid identifiers; its device does not count. */
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

function addPerson(state: DeviceState, person: Person | null): DeviceState {
  if (person === null) return { ...state, hadAnonymous: true };
  if (state.isShared) return state;
  if (state.owner === null) return { ...state, owner: person };
  return isSamePerson(state.owner, person)
    ? { ...state, owner: { ...state.owner, ...person } }
    : { ...state, owner: null, isShared: true };
}

function mergeStates(one: DeviceState, other: DeviceState): DeviceState {
  const merged = other.owner === null ? one : addPerson(one, other.owner);
  const isShared = merged.isShared || other.isShared;
  return {
    owner: isShared ? null : merged.owner,
    isShared,
    hadAnonymous: one.hadAnonymous || other.hadAnonymous,
  };
}

/** The source's own id decides if both have one; else an equal e-mail address or phone number is enough. */
function isSamePerson(one: Person, other: Person): boolean {
  const haveBoth = (name: keyof Person): boolean =>
    one[name] !== undefined && other[name] !== undefined;
  if (haveBoth('distinct_id')) return one.distinct_id === other.distinct_id;
  if (haveBoth('email')) return one.email === other.email;
  return haveBoth('phone_number') && one.phone_number === other.phone_number;
}

function parseState(value: string | null): DeviceState {
  if (value === null) return unseen;
  return stateSchema.safeParse(JSON.parse(value)).data ?? unseen;
}
