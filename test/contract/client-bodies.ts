import type { EventsBulkCreateJob, ProfileImportJobCreateQuery } from 'klaviyo-api';

/**
 * Events and profiles as callers post them, and the same content as request bodies of Klaviyo's own
 * client. The compiler rejects a body that does not fit the client's types.
 * test/contract/klaviyo-client.test.ts compares these bodies with those that the relay sends.
 */
export const postedEvents = [
  {
    event_name: 'Placed Order',
    email: 'ada@klaviyo-demo.com',
    distinct_id: 'customer-42',
    phone_number: '+15005550006',
    event_time: '2026-11-01T09:30:00.000Z',
    insert_id: 'order-1001',
    properties: {
      coupon: 'WINTER',
      items: [{ sku: 'AB-1', quantity: 2 }],
      gift: null,
      Nested_A: {},
    },
    value: 129.9,
    order_id: '1001',
    total_amount: 139.9,
    currency: 'eur',
  },
  {
    event_name: 'Viewed Product',
    email: 'bo@klaviyo-demo.com',
    event_time: '2026-11-01T10:00:00.000Z',
    insert_id: 'view-1',
  },
  {
    event_name: 'Viewed Product',
    anonymous_id: 'visitor-1',
    event_time: '2026-11-01T11:00:00.000Z',
    insert_id: 'view-2',
  },
];

export const eventsBody = {
  data: {
    type: 'event-bulk-create-job',
    attributes: {
      eventsBulkCreate: {
        data: [
          {
            type: 'event-bulk-create',
            attributes: {
              profile: {
                data: {
                  type: 'profile',
                  attributes: {
                    email: 'ada@klaviyo-demo.com',
                    phoneNumber: '+15005550006',
                    externalId: 'customer-42',
                  },
                },
              },
              events: {
                data: [
                  {
                    type: 'event',
                    attributes: {
                      properties: {
                        coupon: 'WINTER',
                        items: [{ sku: 'AB-1', quantity: 2 }],
                        gift: null,
                        Nested_A: {},
                        $value: 129.9,
                        order_id: '1001',
                        total_amount: 139.9,
                        currency: 'EUR',
                      },
                      time: new Date('2026-11-01T09:30:00.000Z'),
                      value: 129.9,
                      valueCurrency: 'EUR',
                      uniqueId: 'order-1001',
                      metric: {
                        data: { type: 'metric', attributes: { name: 'Placed Order' } },
                      },
                    },
                  },
                ],
              },
            },
          },
          {
            type: 'event-bulk-create',
            attributes: {
              profile: {
                data: { type: 'profile', attributes: { email: 'bo@klaviyo-demo.com' } },
              },
              events: {
                data: [
                  {
                    type: 'event',
                    attributes: {
                      properties: {},
                      time: new Date('2026-11-01T10:00:00.000Z'),
                      uniqueId: 'view-1',
                      metric: {
                        data: { type: 'metric', attributes: { name: 'Viewed Product' } },
                      },
                    },
                  },
                ],
              },
            },
          },
          {
            type: 'event-bulk-create',
            attributes: {
              profile: { data: { type: 'profile', attributes: { anonymousId: 'visitor-1' } } },
              events: {
                data: [
                  {
                    type: 'event',
                    attributes: {
                      properties: {},
                      time: new Date('2026-11-01T11:00:00.000Z'),
                      uniqueId: 'view-2',
                      metric: {
                        data: { type: 'metric', attributes: { name: 'Viewed Product' } },
                      },
                    },
                  },
                ],
              },
            },
          },
        ],
      },
    },
  },
} satisfies EventsBulkCreateJob;

export const postedProfiles = [
  {
    email: 'ada@klaviyo-demo.com',
    distinct_id: 'customer-42',
    phone_number: '+15005550006',
    first_name: 'Ada',
    last_name: 'Lovelace',
    organization: 'Analytical Engines',
    locale: 'en-US',
    title: 'Analyst',
    image: 'https://klaviyo-demo.com/ada.png',
    location: {
      address1: '89 E 42nd St',
      address2: '1st floor',
      city: 'New York',
      country: 'United States',
      latitude: 40.7128,
      longitude: '-74.0060',
      region: 'NY',
      zip: '10017',
      timezone: 'America/New_York',
      ip: '127.0.0.1',
    },
    properties: { plan: 'gold', tags: ['a', 'b'] },
    shoe_size: 38,
  },
  { distinct_id: 42 },
];

export const profilesBody = {
  data: {
    type: 'profile-bulk-import-job',
    attributes: {
      profiles: {
        data: [
          {
            type: 'profile',
            attributes: {
              email: 'ada@klaviyo-demo.com',
              phoneNumber: '+15005550006',
              externalId: 'customer-42',
              firstName: 'Ada',
              lastName: 'Lovelace',
              organization: 'Analytical Engines',
              locale: 'en-US',
              title: 'Analyst',
              image: 'https://klaviyo-demo.com/ada.png',
              location: {
                address1: '89 E 42nd St',
                address2: '1st floor',
                city: 'New York',
                country: 'United States',
                latitude: 40.7128,
                longitude: '-74.0060',
                region: 'NY',
                zip: '10017',
                timezone: 'America/New_York',
                ip: '127.0.0.1',
              },
              properties: { plan: 'gold', tags: ['a', 'b'], shoe_size: 38 },
            },
          },
          { type: 'profile', attributes: { externalId: '42' } },
        ],
      },
    },
  },
} satisfies ProfileImportJobCreateQuery;

/** Wrong bodies, which the compiler must reject. If it accepted one, this file would not compile. */
const [wrapper] = eventsBody.data.attributes.eventsBulkCreate.data;
const [profile] = profilesBody.data.attributes.profiles.data;
type Wrapper = EventsBulkCreateJob['data']['attributes']['eventsBulkCreate']['data'][number];
type Profile = ProfileImportJobCreateQuery['data']['attributes']['profiles']['data'][number];

export const refused = [
  // @ts-expect-error a field of the profile is renamed
  { ...profile!, attributes: { ...profile!.attributes, phone: '+15005550006' } } satisfies Profile,
  // @ts-expect-error profile imports have no anonymous_id any more
  { ...profile!, attributes: { ...profile!.attributes, anonymousId: 'a' } } satisfies Profile,
  // @ts-expect-error a member of the wrapper is renamed
  { ...wrapper!, attributes: { ...wrapper!.attributes, backFill: true } } satisfies Wrapper,
  // @ts-expect-error the name of the metric is missing
  { data: { type: 'metric', attributes: {} } } satisfies Metric,
];

type Metric = Wrapper['attributes']['events']['data'][number]['attributes']['metric'];

/** `backfill` of a wrapper and of its event. The event's value decides. */
export const laterWrapper = {
  type: 'event-bulk-create',
  attributes: {
    backfill: true,
    profile: { data: { type: 'profile', attributes: { anonymousId: 'visitor-2' } } },
    events: {
      data: [
        {
          type: 'event',
          attributes: {
            properties: {},
            backfill: false,
            metric: { data: { type: 'metric', attributes: { name: 'Viewed Product' } } },
          },
        },
      ],
    },
  },
} satisfies Wrapper;
