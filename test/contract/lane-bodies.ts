import {
  subscribed,
  toCatalogItem,
  toCatalogJob,
  toCatalogVariant,
  toConsentJob,
  toDeletionJob,
  toMembers,
  toProfileMerge,
  toSuppressionJob,
  unsubscribed,
} from '../support/sandbox.js';
import type { Revision } from './reference.js';

const email = 'lane@klaviyo-demo.com';
const phone = '+15005550007';
const toId = (externalId: string): string => `$custom:::$default:::${externalId}`;

export type LaneExample = { readonly status: number; readonly bodies: readonly unknown[] };

/**
 * Valid bodies of the operations on consent, lists, privacy and the catalog, by `METHOD path`.
 * `people`: the ids of at least two profiles.
 */
export function toLaneExamples(
  revision: Revision,
  people: readonly string[],
): Readonly<Record<string, LaneExample>> {
  const [first = '', second = ''] = people;
  const consent = 'SUBSCRIBED';
  const both = { ...subscribed, transactional: { consent } };
  const past = { marketing: { consent, consented_at: '2024-05-01T10:00:00+00:00' } };
  const token = {
    token: 't',
    platform: 'ios',
    vendor: 'apns',
    device_metadata: { os_name: 'ios' },
  };
  const isLate = revision >= '2026-07-15';
  const identifiers = { email, phone_number: phone };
  const revoked = { consent: 'UNSUBSCRIBED' };
  return {
    'POST /api/profile-subscription-bulk-create-jobs': {
      status: 202,
      bodies: [
        toConsentJob('create', [
          { ...identifiers, subscriptions: { email: subscribed, sms: both } },
        ]),
        toConsentJob(
          'create',
          [{ email: 'old@klaviyo-demo.com', subscriptions: { email: past } }],
          {
            historical_import: true,
            custom_source: 'Old shop',
            listId: 'Y6nRLr',
          },
        ),
        ...(isLate
          ? [
              toConsentJob('create', [
                {
                  ...identifiers,
                  subscriptions: {
                    email: { open_tracking: { consent } },
                    whatsapp: both,
                    push: { ...subscribed, tokens: [token], anonymous_id: 'device-1' },
                  },
                  age_gated_date_of_birth: '1990-10-30',
                },
              ]),
            ]
          : [toConsentJob('create', [identifiers])]),
      ],
    },
    'POST /api/profile-subscription-bulk-delete-jobs': {
      status: 202,
      bodies: [
        toConsentJob('delete', [{ email, subscriptions: { email: unsubscribed } }]),
        toConsentJob('delete', [{ phone_number: phone, subscriptions: { sms: unsubscribed } }], {
          listId: 'Y6nRLr',
        }),
        ...(isLate
          ? [
              toConsentJob('delete', [
                {
                  ...identifiers,
                  subscriptions: {
                    email: { open_tracking: revoked },
                    whatsapp: { ...unsubscribed, transactional: revoked, conversational: revoked },
                    push: { ...unsubscribed, tokens: [token] },
                  },
                },
              ]),
            ]
          : []),
      ],
    },
    'POST /api/profile-suppression-bulk-create-jobs': {
      status: 202,
      bodies: [
        toSuppressionJob('create', [], { list: { data: { type: 'list', id: 'Y6nRLr' } } }),
        toSuppressionJob('create', [email]),
      ],
    },
    'POST /api/profile-suppression-bulk-delete-jobs': {
      status: 202,
      bodies: [toSuppressionJob('delete', [email])],
    },
    'POST /api/lists/{id}/relationships/profiles': {
      status: 204,
      bodies: [toMembers([first, second])],
    },
    'DELETE /api/lists/{id}/relationships/profiles': { status: 204, bodies: [toMembers([first])] },
    'POST /api/profile-merge': { status: 201, bodies: [toProfileMerge(first, [second])] },
    'POST /api/data-privacy-deletion-jobs': {
      status: 202,
      bodies: [
        toDeletionJob({ email }),
        toDeletionJob({ phone_number: phone }),
        toDeletionJob({}, first),
      ],
    },
    'POST /api/catalog-item-bulk-create-jobs': {
      status: 202,
      bodies: [
        toCatalogJob('item', 'create', [
          {
            ...toCatalogItem('mug', {
              price: 9.5,
              image_full_url: 'https://shop.klaviyo-demo.com/mug.png',
              images: [],
              custom_metadata: { color: 'red' },
              published: true,
              catalog_type: '$default',
              integration_type: '$custom',
            }),
            relationships: {
              categories: { data: [{ type: 'catalog-category', id: toId('mugs') }] },
            },
          },
        ]),
      ],
    },
    'POST /api/catalog-item-bulk-update-jobs': {
      status: 202,
      bodies: [
        toCatalogJob('item', 'update', [{ id: toId('mug'), attributes: { title: 'Big mug' } }]),
      ],
    },
    'POST /api/catalog-item-bulk-delete-jobs': {
      status: 202,
      bodies: [toCatalogJob('item', 'delete', [{ id: toId('mug') }])],
    },
    'POST /api/catalog-variant-bulk-create-jobs': {
      status: 202,
      bodies: [toCatalogJob('variant', 'create', [toCatalogVariant('mug-red', 'mug')])],
    },
    'POST /api/catalog-variant-bulk-update-jobs': {
      status: 202,
      bodies: [
        toCatalogJob('variant', 'update', [
          { id: toId('mug-red'), attributes: { inventory_quantity: 1, inventory_policy: 1 } },
        ]),
      ],
    },
    'POST /api/catalog-variant-bulk-delete-jobs': {
      status: 202,
      bodies: [toCatalogJob('variant', 'delete', [{ id: toId('mug-red') }])],
    },
  };
}
