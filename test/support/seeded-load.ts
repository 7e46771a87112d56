import { ExactInteger, type JsonObject } from '../../src/json/json.js';
import { createSeededRandom } from '../../src/sandbox/faults.js';

/**
 * The load of the crash tests. Every event and every profile update follows from the seed and a number,
 * so the oracle can create it again and does not have to keep it.
 */

export type Random = () => number;

/** How the sandbox treats a record: it accepts it, rejects it with or without a pointer to it, or rejects it in the import job. */
export type RecordKind = 'good' | 'named' | 'unnamed' | 'in job';

export type MadeEvent = {
  readonly event_name: string;
  readonly insert_id: string;
  readonly event_time?: string;
  readonly value?: number;
  readonly currency?: string;
  readonly order_id?: string | number | ExactInteger;
  readonly total_amount?: number;
  readonly properties: JsonObject & { readonly mark: RecordKind };
} & Person;

/** Fields that are neither attributes nor `properties` become properties, so `step` and `mark` do. */
export type MadeUpdate = {
  readonly first_name: string;
  readonly last_name?: string | null;
  readonly location?: { readonly city?: string | null; readonly zip?: string };
  readonly person: number;
  readonly step: number;
  readonly mark: RecordKind;
  readonly favourite: unknown;
  readonly plan?: string | null;
  readonly properties?: JsonObject;
} & Person;

/** A person always has the same identifiers, so no profiles are merged. */
export type Person = {
  readonly email?: string;
  readonly distinct_id?: string;
  readonly phone_number?: string;
  /** Only visitors have one. */
  readonly anonymous_id?: string;
};

export const personCount = 48;
/** Visitors have the numbers from personCount on; they have events and no profile updates. */
const visitorCount = 12;
export const totalPersonCount = personCount + visitorCount;

export function toPerson(number: number): Person {
  if (number >= personCount) return { anonymous_id: `browser-${number} ü` };
  const email = `person-${number}@klaviyo-demo.com`;
  const persons: readonly Person[] = [
    { email },
    { distinct_id: `customer/${number} ü` },
    { email, distinct_id: `customer-${number}` },
    { phone_number: `+1212456${1000 + number}` },
  ];
  return persons[number % persons.length] ?? { email };
}

export function below(random: Random, bound: number): number {
  return Math.floor(random() * bound);
}

export function pick<const L extends readonly unknown[]>(random: Random, list: L): L[number] {
  return list[below(random, list.length)];
}

export const toInsertId = (number: number): string => `e-${number}`;

/** Returns null if the id is not one of the seeded load. */
export function toEventNumber(insertId: string): number | null {
  const [, digits] = /^e-(\d+)$/.exec(insertId) ?? [];
  return digits === undefined ? null : Number(digits);
}

export function makeEvent(seed: number, number: number): MadeEvent {
  const random = createSeededRandom(seed + number * 7919);
  const time = new Date(Date.UTC(2020, 0, 1) + below(random, 2 ** 32)).toISOString();
  return {
    event_name: pick(random, ['Placed Order', 'Viewed Product', 'Größe gewählt', '注文 🎁']),
    ...toPerson(below(random, totalPersonCount)),
    insert_id: toInsertId(number),
    ...(random() < 0.5 && { event_time: pick(random, [time, time.replace('Z', '+02:00')]) }),
    ...(random() < 0.5 && { value: pick(random, numbers) }),
    ...(random() < 0.5 && { currency: pick(random, ['usd', 'EUR', 'Jpy']) }),
    ...(random() < 0.3 && { order_id: pick(random, ['1001', 1001, bigInteger]) }),
    ...(random() < 0.3 && { total_amount: pick(random, numbers) }),
    properties: {
      ...makeObject(random, 3),
      mark: pickKind(random, badShare.events, ['named', 'unnamed']),
    },
  };
}

/** A bad update has only fields that every update has, so a merge with the next one leaves no trace of it. */
export function makeUpdate(seed: number, person: number, step: number): MadeUpdate {
  const random = createSeededRandom(seed + (person + 1) * 1_000_003 + step * 7919);
  const mark = pickKind(random, badShare.updates, ['named', 'unnamed', 'in job']);
  const update = {
    ...toPerson(person),
    first_name: `Sam ${step}`,
    person,
    step,
    mark,
    favourite: makeValue(random, 2),
  };
  if (mark !== 'good') return { ...update, favourite: 'none' };
  const value = makeValue(random, 2);
  const made = {
    ...update,
    favourite: update.favourite ?? 'none',
    ...(random() < 0.5 && { last_name: pick(random, ['Żółć', 'O’Neil']) }),
    ...(random() < 0.5 && { location: pick(random, places) }),
    ...(random() < 0.5 && { plan: pick(random, ['gold', 'silver']) }),
    properties: {
      ...(random() < 0.5 && value !== null && { [pick(random, names)]: value }),
      ...createOrderProperties(step),
    },
  };
  return random() < exactShare ? { ...made, ...pick(random, clears) } : made;
}

/** An update with a null is sent alone, so few updates have one: the others are merged. */
const exactShare = 0.08;
const clears = [
  { last_name: null },
  { location: { city: null, zip: '0' } },
  { plan: null },
] as const;

/** Two consecutive updates write each property, and no other does, so an exchange of their order stays visible. */
function createOrderProperties(step: number): JsonObject {
  return { [`turn ${step - 1}`]: 'second', [`turn ${step}`]: 'first' };
}

/** Few updates are bad, because the envelopes merged with a bad one are sent one by one, which is slow. */
const badShare = { events: 0.03, updates: 0.015 };

function pickKind(random: Random, share: number, bad: readonly RecordKind[]): RecordKind {
  return random() < share ? pick(random, bad) : 'good';
}

/** An integer that a JavaScript number cannot represent. */
const bigInteger = new ExactInteger('123456789012345678901234567890');

const numbers = [29.98, 0, -5, 0.1 + 0.2, 1e21, 1e-7, 123456789.125, 2 ** 53 - 1] as const;

const places = [{ city: 'Boston', zip: '02108' }, { city: '東京' }] as const;

/** JavaScript reorders names that look like numbers; `order_id` is also the name of a field. */
const names = [
  'Items',
  'größe',
  '価格',
  '10',
  '2',
  'with space',
  'quo"ted\\',
  'a.b/c~d',
  'order_id',
  '🎁',
  'x'.repeat(60),
  '',
] as const;

const texts = [
  'plain words, ',
  'żółć ',
  '漢字',
  '👩‍👩‍👧',
  '\u2028\u0001\t\n',
  '"\\/\u007f',
  '</script>',
] as const;

function makeObject(random: Random, depth: number): JsonObject {
  const entries = Array.from({ length: 2 + below(random, 8) }, (_, index) => [
    `${pick(random, names)}${pick(random, ['', index])}`,
    makeValue(random, depth),
  ]);
  return Object.fromEntries(entries) as JsonObject;
}

function makeValue(random: Random, depth: number): unknown {
  switch (below(random, depth > 0 ? 8 : 6)) {
    case 0:
      return pick(random, numbers);
    case 1:
      return pick(random, [true, false, null]);
    case 2:
      return pick(random, [bigInteger, '', [], {}]);
    case 6:
      return makeObject(random, depth - 1);
    case 7:
      return Array.from({ length: below(random, 5) }, () => makeValue(random, depth - 1));
    default:
      return Array.from({ length: below(random, 40) }, () => pick(random, texts)).join('');
  }
}
