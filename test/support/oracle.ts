import { isJsonObject, parseJson, stringifyJson, type JsonObject } from '../../src/json/json.js';
import type { Lane } from '../../src/model/lane.js';
import type { EventView, SandboxState } from '../../src/sandbox/snapshot.js';
import {
  toExpectedBadUpdate,
  toExpectedEvent,
  toExpectedProfile,
  toExpectedView,
  toIdentifiers,
  toProfileText,
  toReadText,
} from './expected.js';
import type { Ledger } from './ledger.js';
import { isConserved, type LaneCounts } from './relay.js';
import {
  countLeaverEvents,
  findSubscriberProblems,
  isSubscriber,
  isSubscriberEvent,
} from './subscribers.js';
import { totalPersonCount, makeEvent, makeUpdate, toEventNumber, toPerson } from './seeded-load.js';

/** What a run shows once nothing is buffered. */
export type Evidence = {
  readonly seed: number;
  readonly ledger: Ledger;
  readonly klaviyo: SandboxState;
  readonly deadLetters: readonly DeadLetterView[];
  readonly counts: Readonly<Record<Lane, LaneCounts>>;
  /** Epoch ms between which the producer posted. */
  readonly from: number;
  readonly to: number;
};

export type DeadLetterView = { readonly lane: string; readonly payload: JsonObject };

/** Returns a sentence for each lost, duplicate, changed or invented record; empty if there is none. */
export function findProblems(evidence: Evidence): readonly string[] {
  const { ledger, klaviyo } = evidence;
  const profiles = new Map(klaviyo.profiles.map(({ id, attributes }) => [id, attributes]));
  const seeded = withoutSubscribers(evidence);
  return [
    ...ledger.problems,
    ...findLost(evidence),
    ...seeded.klaviyo.events.flatMap((event) =>
      checkEvent(event, profiles.get(event.profileId) ?? {}, evidence),
    ),
    ...findDuplicates(evidence),
    ...seeded.deadLetters.flatMap((each) => checkDeadLetter(each, evidence)),
    ...checkProfiles(seeded),
    ...checkSubscribers(evidence),
    ...checkCounts(evidence),
  ];
}

/** The evidence about events and profiles of `seeded-load.ts`. */
function withoutSubscribers(evidence: Evidence): Evidence {
  const { klaviyo, deadLetters } = evidence;
  return {
    ...evidence,
    klaviyo: {
      ...klaviyo,
      events: klaviyo.events.filter(({ uniqueId }) => !isSubscriberEvent(uniqueId)),
      profiles: klaviyo.profiles.filter(({ attributes }) => !isSubscriber(attributes.email)),
    },
    deadLetters: deadLetters.filter(isSeeded),
  };
}

const isSeeded = ({ lane }: DeadLetterView): boolean => lane === 'events' || lane === 'profiles';

function checkSubscribers({ seed, ledger, klaviyo, deadLetters }: Evidence): readonly string[] {
  const certain = [...ledger.actions].filter(([number]) => !ledger.mayHaveLostAction(number));
  return findSubscriberProblems(seed, new Map(certain), {
    klaviyo,
    mayRepeat: true,
    deadLetters: deadLetters
      .filter((each) => !isSeeded(each))
      .map(({ payload }) => stringifyJson(payload)),
  });
}

/** Reads a page of `/v1/dead-letters`; integers of any size keep their digits. */
export function readDeadLetters(text: string): {
  readonly deadLetters: readonly DeadLetterView[];
  readonly next: string | null;
} {
  const parsed = parseJson(text);
  const page = parsed.ok && isJsonObject(parsed.value) ? parsed.value : {};
  const list = Array.isArray(page.data) ? Array.from<unknown>(page.data) : [];
  const deadLetters = list.filter(isJsonObject).map(({ lane, payload }) => {
    return { lane: String(lane), payload: isJsonObject(payload) ? payload : {} };
  });
  return { deadLetters, next: typeof page.next === 'string' ? page.next : null };
}

/** The numbers of acknowledged events that are neither at Klaviyo nor dead letters. */
export function findLostEvents({
  ledger,
  klaviyo,
  deadLetters,
}: Pick<Evidence, 'ledger' | 'klaviyo' | 'deadLetters'>): readonly number[] {
  const found = new Set(klaviyo.events.map(({ uniqueId }) => toEventNumber(uniqueId)));
  for (const deadLetter of deadLetters) found.add(toEventNumber(toUniqueId(deadLetter)));
  return [...ledger.acknowledgedEvents.keys()].filter((number) => !found.has(number));
}

function findLost(evidence: Evidence): string[] {
  const { ledger } = evidence;
  return findLostEvents(evidence)
    .filter((number) => !ledger.mayBeLost(ledger.acknowledgedEvents.get(number) ?? ''))
    .map((number) => `event ${number} was acknowledged and is lost`);
}

function checkEvent(
  event: EventView,
  profile: JsonObject,
  { seed, ledger, from, to }: Evidence,
): string[] {
  const number = toEventNumber(event.uniqueId);
  if (number === null || !ledger.sentEvents.has(number))
    return [`event ${event.uniqueId} is recorded and was never sent`];
  const posted = makeEvent(seed, number);
  if (posted.properties.mark !== 'good') return [`event ${number} is bad and is recorded`];
  const { metric, time, value, valueCurrency: currency, properties, backfill } = event;
  const person = pickIdentifiers(profile);
  const recorded = { metric, time, value, currency, properties, person, backfill };
  const isStamped = posted.event_time === undefined;
  const at = Date.parse(time);
  return [
    ...findDifference(`event ${number}`, recorded, toExpectedView(posted, time)),
    ...(isStamped && !(at >= from && at <= to) ? [`event ${number} has the time ${time}`] : []),
  ];
}

function pickIdentifiers({
  email,
  phone_number,
  external_id,
  anonymous_id,
}: JsonObject): JsonObject {
  return {
    ...(email !== undefined && { email }),
    ...(phone_number !== undefined && { phone_number }),
    ...(external_id !== undefined && { external_id }),
    ...(anonymous_id !== undefined && { anonymous_id }),
  };
}

function findDuplicates({ ledger, klaviyo }: Evidence): string[] {
  const recorded = findRepeats(klaviyo.events.map(({ uniqueId }) => uniqueId));
  const { acknowledgedEvents, updateIds, actionIds } = ledger;
  const ids = findRepeats([...acknowledgedEvents.values(), ...updateIds, ...actionIds]).filter(
    (id) => !ledger.mayBeLost(id),
  );
  return [
    ...recorded.map((id) => `event ${id} is recorded more than once`),
    ...ids.map((id) => `the id ${id} was given more than once`),
  ];
}

function findRepeats(values: readonly string[]): string[] {
  const seen = new Set<string>();
  return values.filter((value) => seen.size === seen.add(value).size);
}

/** Only records that the sandbox rejects may be dead letters, with the payload that Klaviyo would have received. */
function checkDeadLetter(deadLetter: DeadLetterView, evidence: Evidence): string[] {
  const { payload } = deadLetter;
  if (deadLetter.lane === 'profiles') return checkBadUpdate(payload, evidence);
  const number = toEventNumber(toUniqueId(deadLetter));
  if (number === null || !evidence.ledger.sentEvents.has(number))
    return [`a dead letter was never sent: ${stringifyJson(payload)}`];
  const posted = makeEvent(evidence.seed, number);
  if (posted.properties.mark === 'good') return [`event ${number} is good and is a dead letter`];
  const time = String(toEventAttributes(payload).time);
  return findTextDifference(`dead letter ${number}`, payload, toExpectedEvent(posted, time));
}

function checkBadUpdate(payload: JsonObject, { seed, ledger }: Evidence): string[] {
  const { person, step } = toMember(toMember(payload, 'attributes'), 'properties');
  const name = `update ${String(step)} of person ${String(person)}`;
  if (typeof person !== 'number' || typeof step !== 'number') return [`${name} was never sent`];
  if (step >= (ledger.steps.get(person) ?? 0)) return [`${name} was never sent`];
  const posted = makeUpdate(seed, person, step);
  if (posted.mark === 'good') return [`${name} is good and is a dead letter`];
  return findTextDifference(name, payload, toExpectedBadUpdate(posted));
}

function checkProfiles({ seed, ledger, klaviyo }: Evidence): string[] {
  const texts = new Map(
    Array.from({ length: totalPersonCount }, (_, number) => {
      const steps = ledger.steps.get(number) ?? 0;
      const expected = toExpectedProfile(seed, toPerson(number), { number, steps });
      const text = ledger.mayHaveLost(number) ? null : toProfileText(expected);
      return [toIdentifierText(expected), text];
    }),
  );
  const held = new Set(klaviyo.profiles.map(({ attributes }) => toIdentifierText(attributes)));
  const missing = [...ledger.steps.keys()].filter(
    (number) =>
      hasGoodUpdate(seed, number, ledger) &&
      !ledger.mayHaveLost(number) &&
      !held.has(toIdentifierText(toIdentifiers(toPerson(number)))),
  );
  return [
    ...missing.map((number) => `person ${number} was updated and is not there`),
    ...klaviyo.profiles.flatMap(({ attributes }) => {
      const name = toIdentifierText(attributes);
      const expected = texts.get(name);
      if (expected === undefined) return [`profile ${name} was never sent`];
      // If an update of the person may be lost, the merged profile cannot be predicted.
      if (expected === null) return [];
      return describeDifference(`profile ${name}`, toProfileText(attributes), expected);
    }),
  ];
}

function hasGoodUpdate(seed: number, person: number, { steps }: Ledger): boolean {
  const all = Array.from({ length: steps.get(person) ?? 0 }, (_, step) => step);
  return all.some((step) => makeUpdate(seed, person, step).mark === 'good');
}

function toIdentifierText(attributes: JsonObject): string {
  const { email, phone_number, external_id, anonymous_id } = attributes;
  return JSON.stringify([email, phone_number, external_id, anonymous_id].map((id) => id ?? null));
}

/** An event counts as accepted once, however often it is sent; a bad event counts again after it became a dead letter. */
function checkCounts({ seed, klaviyo, deadLetters, counts, ledger }: Evidence): string[] {
  const { counters, events } = klaviyo;
  const countDeadLetters = (lane: string): number =>
    deadLetters.filter((each) => each.lane === lane).length;
  // Klaviyo deletes the events of a person who is erased.
  const deletable = countLeaverEvents(seed, ledger.actions);
  const deleted = counters.recorded - events.length;
  const isRecordedOff = deleted < 0 || deleted > deletable;
  const wanted: readonly (readonly [string, number, number])[] = [
    ['events buffered', counts.events.buffered, 0],
    ['dead-lettered events', counts.events.deadLettered, countDeadLetters('events')],
    ['profiles buffered', counts.profiles.buffered, 0],
    ['dead-lettered profiles', counts.profiles.deadLettered, countDeadLetters('profiles')],
    ['silently dropped', counters.silentlyDropped, 0],
    ['unique_id twice in one request', counters.repeatsInRequest, 0],
    ['doubled in an import job', counters.importDuplicates, 0],
  ];
  // A Redis server that lost envelopes in a failover also lost their counts.
  const uncertain = ledger.countUncertain();
  const acceptedUpdates = counts.profiles.accepted + counts.update_profile.accepted;
  const isShort = acceptedUpdates + uncertain < ledger.updateIds.size;
  const isOff = Math.abs(counts.events.delivered - events.length) > uncertain + deletable;
  return [
    ...wanted.flatMap(([name, is, must]) => (is === must ? [] : [`${name}: ${is}, not ${must}`])),
    ...Object.entries(counts).flatMap(([lane, of]) =>
      isConserved(of) ? [] : [`the counts of ${lane} do not balance: ${JSON.stringify(of)}`],
    ),
    ...(isRecordedOff ? [`recorded: ${counters.recorded}, of which ${events.length} remain`] : []),
    ...(isOff ? [`events delivered: ${counts.events.delivered}, not ${events.length}`] : []),
    ...(isShort ? [`only ${acceptedUpdates} updates count as accepted`] : []),
  ];
}

function findDifference(name: string, is: JsonObject, must: JsonObject): string[] {
  return Object.keys(must).flatMap((part) =>
    describeDifference(`${name}, ${part}`, toReadText(is[part]), toReadText(must[part])),
  );
}

function findTextDifference(name: string, is: JsonObject, must: JsonObject): string[] {
  return describeDifference(name, stringifyJson(is), stringifyJson(must));
}

/** Describes only the first difference, because payloads are long. */
function describeDifference(name: string, is: string, must: string): string[] {
  if (is === must) return [];
  let at = 0;
  while (is[at] === must[at]) at++;
  const [found, expected] = [is, must].map((text) => text.slice(Math.max(0, at - 40), at + 40));
  return [`${name}: …${found ?? ''}… and not …${expected ?? ''}…`];
}

function toUniqueId({ lane, payload }: DeadLetterView): string {
  return lane === 'events' ? String(toEventAttributes(payload).unique_id) : '';
}

function toEventAttributes(payload: JsonObject): JsonObject {
  const { data } = toMember(toMember(payload, 'attributes'), 'events');
  const [event] = Array.isArray(data) ? Array.from<unknown>(data) : [];
  return toMember(isJsonObject(event) ? event : {}, 'attributes');
}

function toMember(object: JsonObject, name: string): JsonObject {
  const member = object[name];
  return isJsonObject(member) ? member : {};
}
