import { z } from 'zod';
import { ExactInteger, isJsonObject, type JsonObject } from '../json/json.js';
import { mapPostedLanes, type PostedLane } from '../model/lane.js';
import { limits } from './limits.js';

/**
 * What a caller may post: the wire contract, and the source of the OpenAPI document. An optional field
 * that is null counts as absent.
 */

/** A number of JSON text. An integer that a JavaScript number cannot hold keeps its digits. */
export type Numeral = number | ExactInteger;

export const isNumeral = (value: unknown): value is Numeral =>
  typeof value === 'number' || value instanceof ExactInteger;

/**
 * A schema with one check of our own. zod's checks would copy objects and do not support ExactInteger. The
 * JSON Schema is given explicitly. No schema here has a transform: transforms cost time, and zod drops
 * their examples.
 */
const checked = <T>(
  is: (value: unknown) => value is T,
  detail: string,
  jsonSchema: z.core.GlobalMeta,
): z.ZodType<T, T> =>
  // The type guard makes the output a T; zod's refine does not narrow the type.
  z.unknown().refine(is, detail).meta(jsonSchema) as z.ZodType<T, T>;

/** Text, or a whole number, which stands for its digits. */
export type Identifier = string | Numeral;

const identifier = (maxChars: number, description: string, example: string) =>
  checked(
    (value): value is Identifier =>
      typeof value === 'string'
        ? value !== '' && value.length <= maxChars
        : value instanceof ExactInteger || Number.isSafeInteger(value),
    `must be a string of 1 to ${maxChars} characters, or a whole number`,
    {
      type: ['string', 'integer'],
      minLength: 1,
      maxLength: maxChars,
      description,
      examples: [example],
    },
  );

/** E-mail addresses that every mail system accepts. Matching takes linear time. */
const emailPattern =
  /^(?=[^@]{1,64}@)[\p{L}\p{N}!#$%&'*+/=?^_`{|}~-]+(?:\.[\p{L}\p{N}!#$%&'*+/=?^_`{|}~-]+)*@(?:[\p{L}\p{N}](?:[\p{L}\p{N}-]{0,61}[\p{L}\p{N}])?\.)+(?:\p{L}{2,63}|xn--[a-zA-Z0-9-]{1,59})$/u;

const email = z
  .string()
  .trim()
  .max(limits.emailChars)
  .regex(emailPattern, 'must be an e-mail address')
  .meta({ description: 'E-mail address.', examples: ['ada@klaviyo-demo.com'] });

export const isEmail = (text: string): boolean => email.safeParse(text).success;

const phoneNumber = z
  .string('must be a string such as +15005550006')
  .max(limits.phoneNumberChars)
  .meta({
    description:
      'Phone number; brought into E.164 form. One that cannot be is left out, kept as the property `phone_number_invalid`, and reported in `warnings`.',
    examples: ['+15005550006'],
  });

const distinctId = identifier(limits.externalIdChars, 'Your id of this person.', 'customer-42');

/** On events only: Klaviyo's profile imports reject it from revision 2025-10-15 on. */
const anonymousId = identifier(
  limits.anonymousIdChars,
  "Klaviyo's anonymous_id: identifies an anonymous visitor, for example by the id of a browser.",
  'browser-7c1e',
);

const noAnonymousId = checked(
  (value): value is null => value === null,
  'Klaviyo takes it on events only; a profile needs email, distinct_id or phone_number',
  { type: 'null', description: 'Klaviyo takes it on events only.' },
);

/** An entry must have at least one of these fields. */
export const identifierFields = {
  events: ['email', 'distinct_id', 'phone_number', 'anonymous_id'],
  profiles: ['email', 'distinct_id', 'phone_number'],
  subscribe: ['email', 'phone_number'],
  unsubscribe: ['email', 'phone_number'],
  suppress: ['email'],
  unsuppress: ['email'],
  erase: ['email', 'phone_number', 'distinct_id'],
} as const satisfies Readonly<Record<PostedLane, readonly string[]>>;

function toIdentifierRule(fields: readonly string[]): { anyOf: { required: string[] }[] } {
  return { anyOf: fields.map((field) => ({ required: [field] })) };
}

const properties = (description: string, example: JsonObject) =>
  checked(isJsonObject, 'must be a JSON object', {
    type: 'object',
    additionalProperties: true,
    description,
    examples: [example],
  });

const amount = (description: string, example: number) =>
  checked(isNumeral, 'must be a number, not a string or anything else', {
    type: 'number',
    description,
    examples: [example],
  });

const isOrderId = (value: unknown): value is string | Numeral =>
  isNumeral(value) || (typeof value === 'string' && Buffer.byteLength(value) <= limits.stringBytes);

/** Codes that ISO 4217 withdrew or added in recent years. The table of a JavaScript runtime may lack them, and orders still have them. */
const recentCurrencies = ['ANG', 'BGN', 'CUC', 'HRK', 'SLE', 'SLL', 'VED', 'XCG', 'ZWG', 'ZWL'];

const currencies = new Set([...Intl.supportedValuesOf('currency'), ...recentCurrencies]);

/** Returns true for an ISO 4217 code in upper case. */
export function isCurrency(code: string): boolean {
  return currencies.has(code);
}

export const eventSchema = z
  .strictObject({
    event_name: z
      .string()
      .max(limits.metricNameChars)
      .regex(/\S/, 'must not be blank')
      .meta({ description: "Name of Klaviyo's metric.", examples: ['Placed Order'] }),
    email: email.nullish(),
    distinct_id: distinctId.nullish(),
    phone_number: phoneNumber.nullish(),
    anonymous_id: anonymousId.nullish(),
    event_time: z.iso
      .datetime({
        offset: true,
        error:
          'must be ISO 8601 with date, time and offset, such as 2026-01-31T09:30:00Z; not unix time',
      })
      .meta({
        description:
          'When it happened: ISO 8601 with an offset, from 1990 (2000 where the revision of Klaviyo in use is older than 2026-07-15) to a year ahead. Absent: when the relay received it. Older than BACKFILL_AFTER (a day): Klaviyo records the event and triggers no flow with it.',
        examples: ['2026-01-31T09:30:00Z'],
      })
      .nullish(),
    insert_id: identifier(
      limits.uniqueIdChars,
      'Names this event: a second one with the same id, person and name is a duplicate. Absent: the Idempotency-Key header, or an id made on accept.',
      'order-1001-placed',
    ).nullish(),
    properties: properties(
      `Passed through untouched. At most ${limits.eventProperties} of them, ${limits.nesting} levels deep, strings of ${limits.stringBytes} bytes, arrays of ${limits.arrayLength}.`,
      { coupon: 'WINTER', items: [{ sku: 'AB-1', quantity: 2 }] },
    ).nullish(),
    value: amount('What the event is worth, for revenue reporting.', 129.9).nullish(),
    order_id: checked(isOrderId, 'must be a string or a number', {
      type: ['string', 'number'],
      description: 'Your id of the order.',
      examples: ['1001'],
    }).nullish(),
    total_amount: amount('Total of the order.', 139.9).nullish(),
    currency: z
      .string()
      .refine(
        (code) => isCurrency(code.toUpperCase()),
        'must be an ISO 4217 currency code such as USD',
      )
      .meta({
        description: 'ISO 4217 code of value and total_amount, in any case.',
        examples: ['USD'],
      })
      .nullish(),
  })
  .meta({ ...toIdentifierRule(identifierFields.events), description: 'Something a person did.' });

const coordinate = (bound: number, example: number) =>
  checked(
    (value): value is number | string =>
      (typeof value === 'number' ||
        (typeof value === 'string' && /^[-+]?\d+(\.\d+)?$/.test(value))) &&
      Math.abs(Number(value)) <= bound,
    `must be a number between -${bound} and ${bound}`,
    { type: ['number', 'string'], examples: [example] },
  ).nullish();

const locationSchema = z
  .strictObject({
    address1: z.string().nullish(),
    address2: z.string().nullish(),
    city: z.string().nullish(),
    country: z
      .string()
      .meta({ description: 'Name or ISO 3166 code; also read for the phone number.' })
      .nullish(),
    latitude: coordinate(90, 40.7128),
    longitude: coordinate(180, -74.006),
    region: z.string().nullish(),
    zip: z.string().nullish(),
    timezone: z
      .string()
      .meta({ description: 'IANA name.', examples: ['America/New_York'] })
      .nullish(),
    ip: z.string().nullish(),
  })
  .meta({ description: 'Where the person is.' });

export const locationFields: readonly string[] = Object.keys(locationSchema.shape);

const patch = (description: string) =>
  properties(
    `${description} By name: a string, a number or a boolean, or a list of these. An exact update.`,
    { tags: ['vip'] },
  );

const isNames = (value: unknown): value is readonly string[] =>
  Array.isArray(value) && value.every((name) => typeof name === 'string' && name !== '');

const listIdPattern = /^\w{1,40}$/;

const isListIds = (value: unknown): value is readonly string[] =>
  Array.isArray(value) &&
  value.length <= limits.listsPerProfile &&
  value.every((id) => typeof id === 'string' && listIdPattern.test(id));

const listIds = (description: string) =>
  checked(isListIds, `must be a list of at most ${limits.listsPerProfile} ids of lists`, {
    type: 'array',
    items: { type: 'string', pattern: listIdPattern.source },
    maxItems: limits.listsPerProfile,
    description,
    examples: [['Y6nRLr']],
  });

export const profileSchema = z
  .looseObject({
    email: email.nullish(),
    distinct_id: distinctId.nullish(),
    phone_number: phoneNumber.nullish(),
    anonymous_id: noAnonymousId.optional(),
    first_name: z
      .string()
      .meta({ examples: ['Ada'] })
      .nullish(),
    last_name: z
      .string()
      .meta({ examples: ['Lovelace'] })
      .nullish(),
    organization: z.string().nullish(),
    locale: z
      .string()
      .meta({ description: 'BCP 47.', examples: ['en-US'] })
      .nullish(),
    title: z.string().nullish(),
    image: z.string().meta({ description: 'URL of a picture.' }).nullish(),
    location: locationSchema.nullish(),
    properties: properties(
      'Custom properties. Fields the relay does not know are added to them, and win over the same name here.',
      { plan: 'gold' },
    ).nullish(),
    append: patch('Values to add to lists in custom properties.').nullish(),
    unappend: patch('Values to remove from lists in custom properties.').nullish(),
    lists: listIds(
      'Ids of lists in Klaviyo that the person joins. This gives no consent: post a subscription for that.',
    ).nullish(),
    remove_from_lists: listIds(
      'Ids of lists in Klaviyo that the person leaves. This withdraws no consent: post an unsubscription for that.',
    ).nullish(),
    unset: checked(isNames, 'must be a list of names', {
      type: 'array',
      items: { type: 'string', minLength: 1 },
      description: 'Custom properties to remove. An exact update.',
      examples: [['plan']],
    }).nullish(),
  })
  .meta({
    ...toIdentifierRule(identifierFields.profiles),
    description: `A person: identifiers, attributes, and any other field as a custom property. At most ${limits.profileBytes} bytes. A null clears an attribute or a custom property, but not an identifier. A profile with a null, \`append\`, \`unappend\` or \`unset\` is an exact update: it has a request of its own, which is slower.`,
  });

/** The fields of a profile that are attributes with a text. */
export const profileAttributeNames = [
  'first_name',
  'last_name',
  'organization',
  'locale',
  'title',
  'image',
] as const;

/** The fields of a profile that are no custom properties. */
export const profileFieldNames: ReadonlySet<string> = new Set(Object.keys(profileSchema.shape));

const channels = z
  .strictObject({
    email: z.array(z.literal('marketing')).min(1).nullish(),
    sms: z
      .array(z.enum(['marketing', 'transactional']))
      .min(1)
      .nullish(),
    whatsapp: z
      .array(z.enum(['marketing', 'transactional']))
      .min(1)
      .nullish(),
  })
  .meta({
    description:
      'The channels, each with its message types. email needs email; sms and whatsapp need phone_number.',
    examples: [{ email: ['marketing'] }],
  });

/** Which messages of which channel. */
export type Channels = z.output<typeof channels>;

const listId = z
  .string()
  .regex(listIdPattern, 'must be the id of a list, such as Y6nRLr')
  .meta({ description: 'Id of a list in Klaviyo.', examples: ['Y6nRLr'] });

const person = {
  email: email.nullish(),
  phone_number: phoneNumber
    .meta({
      description:
        'Phone number; brought into E.164 form. One that cannot be is an error if a channel needs it; otherwise it is left out and reported in `warnings`.',
      examples: ['+15005550006'],
    })
    .nullish(),
  distinct_id: distinctId.nullish(),
};

export const subscriptionSchema = z
  .strictObject({
    ...person,
    channels,
    list_id: listId.nullish(),
    historical: z
      .boolean()
      .meta({
        description:
          'The consent was given earlier: Klaviyo requests no confirmation and starts no flow. Needs `consented_at`.',
      })
      .nullish(),
    consented_at: z.iso
      .datetime({ offset: true, error: 'must be ISO 8601 with date, time and offset' })
      .meta({
        description:
          'When the person consented; in the past. Klaviyo stores it only with `historical`.',
        examples: ['2026-01-31T09:30:00Z'],
      })
      .nullish(),
    custom_source: z
      .string()
      .min(1)
      .max(limits.customSourceChars)
      .meta({ description: 'A text that Klaviyo stores with the consent.', examples: ['Checkout'] })
      .nullish(),
  })
  .meta({
    ...toIdentifierRule(identifierFields.subscribe),
    description: 'A person who consents to be sent messages.',
  });

export const unsubscriptionSchema = z
  .strictObject({
    ...person,
    channels,
    list_id: listId.nullish(),
    everywhere: z
      .boolean()
      .meta({
        description:
          'True: unsubscribes from everything. Required if no `list_id` is given. Klaviyo also unsubscribes a person from everything who is not in the list.',
      })
      .nullish(),
    unsubscribed_at: z.iso
      .datetime({ offset: true, error: 'must be ISO 8601 with date, time and offset' })
      .meta({
        description:
          'When the person withdrew the consent; in the past. Only a consent that is older is never sent. Absent: when the relay received it. Klaviyo does not get it.',
        examples: ['2026-01-31T09:30:00Z'],
      })
      .nullish(),
  })
  .meta({
    ...toIdentifierRule(identifierFields.unsubscribe),
    description: 'A person who withdraws the consent.',
  });

export const suppressionSchema = z.strictObject({ email }).meta({
  description:
    'An address that gets no marketing by e-mail, whatever the consent is. It is no unsubscription.',
});

export const unsuppressionSchema = z.strictObject({ email }).meta({
  description:
    'An address whose suppression ends. Klaviyo lifts only suppressions by a user or an integration of the account.',
});

export const erasureSchema = z
  .strictObject({
    email: email.nullish(),
    phone_number: phoneNumber
      .meta({
        description: 'Phone number; brought into E.164 form. One that cannot be is an error.',
        examples: ['+15005550006'],
      })
      .nullish(),
    distinct_id: distinctId.nullish(),
  })
  .meta({
    oneOf: toIdentifierRule(identifierFields.erase).anyOf,
    description:
      'A person whose data is removed from this relay and deleted at Klaviyo. Exactly one identifier.',
  });

/** What callers post to each lane. */
export const postedSchemas = {
  events: eventSchema,
  profiles: profileSchema,
  subscribe: subscriptionSchema,
  unsubscribe: unsubscriptionSchema,
  suppress: suppressionSchema,
  unsuppress: unsuppressionSchema,
  erase: erasureSchema,
} as const satisfies Readonly<Record<PostedLane, z.ZodObject>>;

/** What an entry of a lane is called in paths, bodies and messages. */
export const entryNames = {
  events: { one: 'event', many: 'events' },
  profiles: { one: 'profile', many: 'profiles' },
  subscribe: { one: 'subscription', many: 'subscriptions' },
  unsubscribe: { one: 'unsubscription', many: 'unsubscriptions' },
  suppress: { one: 'suppression', many: 'suppressions' },
  unsuppress: { one: 'unsuppression', many: 'unsuppressions' },
  erase: { one: 'erasure', many: 'erasures' },
} as const satisfies Readonly<Record<PostedLane, { readonly one: string; readonly many: string }>>;

/** The issue of an entry that is no JSON object. */
export const notAnEntry = mapPostedLanes(
  (lane) => `must be a JSON object: one ${entryNames[lane].one}`,
);

/** A posted entry after validation. */
export type PostedEvent = z.output<typeof eventSchema>;
export type PostedProfile = z.output<typeof profileSchema>;
export type PostedSubscription = z.output<typeof subscriptionSchema>;
export type PostedUnsubscription = z.output<typeof unsubscriptionSchema>;
export type PostedErasure = z.output<typeof erasureSchema>;
