import { hashIdentifiers } from '../identity-keys.js';
import { isJsonObject } from '../json/json.js';
import type { Envelope } from '../model/envelope.js';
import type { StoreLane } from '../model/lane.js';
import type { PersonQuery } from '../model/store.js';
import { fromId } from './ids.js';

/**
 * Which stored things are about a person.
 *
 * The envelopes of most lanes have the identity keys of their person. The keys of an event are about one
 * event of the person, so its person is read from the payload. Facts, and entries that are not mapped yet,
 * have the identifiers as members of their JSON.
 */

type Stored = {
  readonly lane: StoreLane;
  readonly keys: readonly string[];
  readonly payload: Uint8Array;
};

/** The identity keys of the person that an envelope is about. */
export function findPersonKeys(
  lane: StoreLane,
  { keys, payload }: Omit<Stored, 'lane'>,
): readonly string[] {
  return lane === 'events' ? (readEventPerson(tryParse(payload)) ?? []) : keys;
}

export type PersonMatcher = {
  /** Returns true for an envelope or a dead letter of the person. */
  isAbout(stored: Stored): boolean;
  /** Returns true for the value of a fact about the person. */
  isInFact(value: string): boolean;
};

export function createPersonMatcher({ key, value }: PersonQuery): PersonMatcher {
  const mayContain = createFilter(value);
  return {
    isAbout({ lane, keys, payload }) {
      if (keys.includes(key)) return true;
      const bytes = Buffer.from(payload.buffer, payload.byteOffset, payload.byteLength);
      if (!mayContain(() => bytes.toString('latin1'))) return false;
      const parsed = tryParse(payload);
      const ofEvent = lane === 'events' ? readEventPerson(parsed) : undefined;
      if (ofEvent !== undefined) return ofEvent.includes(key);
      // Elements of the other lanes have the keys of their person.
      return !isMapped(parsed) && names(parsed, key);
    },
    isInFact(text) {
      if (text.includes(key)) return true;
      // A ledger of an earlier version has a word before its JSON.
      return mayContain(() => text) && names(tryParse(text.slice(text.indexOf('{'))), key);
    },
  };
}

/**
 * A fast test that is true for every text with the identifier: it looks for it without regard to case.
 * Identifiers with letters beyond ASCII have several forms, so for them it is always true.
 */
function createFilter(value: string | undefined): (toText: () => string) => boolean {
  const needle = value === undefined ? '' : JSON.stringify(value).slice(1, -1).toLowerCase();
  if (!/^[ -~]+$/.test(needle)) return () => true;
  return (toText) => toText().toLowerCase().includes(needle);
}

function tryParse(json: Uint8Array | string): unknown {
  try {
    return JSON.parse(typeof json === 'string' ? json : Buffer.from(json).toString());
  } catch {
    return undefined;
  }
}

/** The identity keys of an event's profile; undefined if this is no event as Klaviyo takes it. */
function readEventPerson(event: unknown): readonly string[] | undefined {
  const profile = member(
    member(member(member(event, 'attributes'), 'profile'), 'data'),
    'attributes',
  );
  return isJsonObject(profile) ? hashIdentifiers(toIdentifiers(profile)) : undefined;
}

const isMapped = (parsed: unknown): boolean =>
  isJsonObject(parsed) && (parsed.type === 'profile' || typeof parsed.group === 'string');

const member = (value: unknown, name: string): unknown =>
  isJsonObject(value) ? value[name] : undefined;

function toIdentifiers(members: Readonly<Record<string, unknown>>) {
  const text = (name: string): string | undefined => {
    const value = members[name];
    return typeof value === 'string' ? value : undefined;
  };
  const externalId = text('external_id') ?? text('distinct_id');
  const [email, phoneNumber] = [text('email')?.trim(), text('phone_number')];
  return {
    ...(email !== undefined && { email }),
    ...(phoneNumber !== undefined && { phoneNumber }),
    ...(externalId !== undefined && { externalId }),
  };
}

/** Returns true if an object within the value names the person by a member such as `email`. */
function names(value: unknown, key: string): boolean {
  if (Array.isArray(value)) return value.some((each) => names(each, key));
  if (!isJsonObject(value)) return false;
  if (hashIdentifiers(toIdentifiers(value)).includes(key)) return true;
  return Object.values(value).some((each) => typeof each === 'object' && names(each, key));
}

/** The last numbers of the counters that an erasure has no number of. */
export type LastSeqs = { readonly events: number; readonly waiting: number };

const markPattern = /^#(\d+)\.(\d+)\.(\d+)$/;

/**
 * A further key of an erasure: its own number, and the last numbers of events and of waiting entries when
 * it was accepted. Other envelopes have no such key, and it survives wherever keys are stored.
 */
export function toErasureMark(seq: number, { events, waiting }: LastSeqs): string {
  return `#${seq}.${events}.${waiting}`;
}

/** Returns a function that decides, from the id of an envelope, if it was accepted before the erasure. */
export function createIsBefore({ keys, id }: Envelope): (lane: StoreLane, id: string) => boolean {
  const mark = keys.map((key) => markPattern.exec(key)).find((match) => match !== null);
  const [seq = fromId(id)?.seq ?? 0, events = 0, waiting = 0] = (mark ?? []).slice(1).map(Number);
  return (lane, other) => {
    const last = lane === 'events' ? events : lane === 'waiting' ? waiting : seq - 1;
    return (fromId(other)?.seq ?? Infinity) <= last;
  };
}
