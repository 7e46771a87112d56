/**
 * The attribute `subscriptions` of a profile: its consent in Klaviyo's form. A response with it was
 * recorded at revision 2026-07-15 (tests/fixtures/responses/get_profile.200.json of
 * github.com/nickdnk/klaviyo-php-sdk).
 */

import type { JsonObject } from '../json/json.js';
import type { ConsentRecord, ConsentType, ProfileConsent } from './consent.js';
import { toIsoTime } from './iso-time.js';
import { readString } from './json.js';
import type { Profile } from './profiles.js';
import type { Revision } from './revisions.js';

export function toSubscriptions({ attributes, consent }: Profile, revision: Revision): JsonObject {
  const phone = readString(attributes.phone_number) ?? null;
  return {
    email: toEmailChannel(consent, { hasAddress: typeof attributes.email === 'string', revision }),
    sms: {
      marketing: toSmsConsent(consent, 'sms.marketing', phone),
      transactional: toSmsConsent(consent, 'sms.transactional', phone),
    },
    mobile_push: { marketing: toPushConsent(consent.records.get('push.marketing')) },
    ...toWhatsAppChannel(consent, phone, revision),
  };
}

function toEmailChannel(
  { records, suppressions, listSuppressions }: ProfileConsent,
  { hasAddress, revision }: { hasAddress: boolean; revision: Revision },
): JsonObject {
  const record = records.get('email.marketing');
  return {
    marketing: {
      can_receive_email_marketing: hasAddress && suppressions.length === 0,
      consent: toStatus(record),
      consent_timestamp: toIsoTime(record?.consentedAt ?? null),
      last_updated: toIsoTime(record?.updatedAt ?? null),
      method: record === undefined ? null : apiMethod,
      method_detail: record?.source ?? null,
      custom_method_detail: record?.source ?? null,
      double_optin: record?.status === 'SUBSCRIBED' ? false : null,
      suppression: suppressions.map(({ reason, at }) => ({ reason, timestamp: toIsoTime(at) })),
      list_suppressions: listSuppressions.map(({ listId, reason, at }) => ({
        list_id: listId,
        reason,
        timestamp: toIsoTime(at),
      })),
    },
    ...(revision.takesOpenTrackingConsent && {
      open_tracking: toChannelConsent(records.get('email.open_tracking')),
    }),
  };
}

/** The method of consent that came through Klaviyo's API. */
const apiMethod = 'API';

function toStatus(record: ConsentRecord | undefined): string {
  return record?.status ?? 'NEVER_SUBSCRIBED';
}

function toSmsConsent(
  { records }: ProfileConsent,
  type: 'sms.marketing' | 'sms.transactional',
  phone: string | null,
): JsonObject {
  const record = records.get(type);
  const canReceive = phone !== null && record?.status === 'SUBSCRIBED';
  return {
    [`can_receive_${type.replace('.', '_')}`]: canReceive,
    consent: toStatus(record),
    consent_timestamp: toIsoTime(record?.consentedAt ?? null),
    method: record === undefined ? null : apiMethod,
    method_detail: record?.source ?? null,
    last_updated: toIsoTime(record?.updatedAt ?? null),
  };
}

function toPushConsent(record: ConsentRecord | undefined): JsonObject {
  return {
    can_receive_push_marketing: record?.status === 'SUBSCRIBED',
    consent: toStatus(record),
    consent_timestamp: toIsoTime(record?.consentedAt ?? null),
  };
}

const whatsAppTypes = ['marketing', 'transactional', 'conversational'] as const;

/** Null without any WhatsApp consent, as recorded. */
function toWhatsAppChannel(
  { records }: ProfileConsent,
  phone: string | null,
  { takesWhatsAppConsent }: Revision,
): JsonObject {
  const types = whatsAppTypes.map((name) => {
    const type: ConsentType = `whatsapp.${name}`;
    return [name, records.get(type)] as const;
  });
  if (!takesWhatsAppConsent) return {};
  if (types.every(([, record]) => record === undefined)) return { whatsapp: null };
  const channel = types.map(
    ([name, record]) => [name, { ...toChannelConsent(record), phone_number: phone }] as const,
  );
  return { whatsapp: Object.fromEntries(channel) };
}

/** The form that channels have since WhatsApp. */
function toChannelConsent(record: ConsentRecord | undefined): JsonObject {
  return {
    consent: toStatus(record),
    consent_timestamp: toIsoTime(record?.consentedAt ?? null),
    last_updated: toIsoTime(record?.updatedAt ?? null),
    created_timestamp: toIsoTime(record?.createdAt ?? null),
    metadata: null,
    can_receive: record?.status === 'SUBSCRIBED',
    valid_until: null,
  };
}
