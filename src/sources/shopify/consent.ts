import type { Skipped, SourceEntry } from '../../ingest/source-entry.js';
import { isJsonObject, type JsonObject } from '../../json/json.js';
import { asText, compact } from '../json.js';
import { readTime } from '../time.js';
import { asShopifyId, type ShopifyMap } from './payload.js';

/**
 * Maps the consents of a customer: `email_marketing_consent` and `sms_marketing_consent` in customers/create and
 * customers/update, and the topics customers_email_marketing_consent/update and
 * customers_marketing_consent/update. From the API version 2025-01 on, only these two topics have them
 * (shopify.dev/changelog, "New customer's webhook and changes to existing customer's webhooks payload").
 *
 * Only `subscribed` is a consent, and only with the time of its last change: without it the state may be older
 * than a withdrawal. `unsubscribed` and `redacted` withdraw it. `not_subscribed`, `pending` and `invalid` are
 * neither. `buyer_accepts_marketing` of an order is not read: it is a box of one checkout, and Shopify reports
 * the consent that it gives with the customer.
 */

type Consents = {
  readonly customerId: string | undefined;
  readonly email?: unknown;
  readonly phone?: unknown;
  readonly emailConsent?: unknown;
  readonly smsConsent?: unknown;
  /** The index of the first entry. */
  readonly index: number;
};

type Mapped = {
  readonly entries: readonly SourceEntry[];
  readonly skipped: readonly Skipped[];
};

/** The consents in the payload of a customer. */
export function mapCustomerConsents(payload: JsonObject, index: number): Mapped {
  return mapConsents({
    customerId: asShopifyId(payload.id),
    email: payload.email,
    phone: payload.phone,
    emailConsent: payload.email_marketing_consent,
    smsConsent: payload.sms_marketing_consent,
    index,
  });
}

export const mapEmailConsent: ShopifyMap = ({ payload }) =>
  withOutcome(
    mapConsents({
      customerId: asShopifyId(payload.customer_id),
      email: payload.email_address,
      emailConsent: payload.email_marketing_consent,
      index: 0,
    }),
  );

export const mapSmsConsent: ShopifyMap = ({ payload }) =>
  withOutcome(
    mapConsents({
      customerId: asShopifyId(payload.id),
      phone: payload.phone,
      smsConsent: payload.sms_marketing_consent,
      index: 0,
    }),
  );

/** A webhook about nothing but a consent is counted, too, if there is no decision in it. */
function withOutcome(mapped: Mapped): Mapped {
  const isEmpty = mapped.entries.length + mapped.skipped.length === 0;
  return isEmpty ? { entries: [], skipped: [{ reason: 'no_decision' }] } : mapped;
}

function mapConsents({ customerId, index, ...given }: Consents): Mapped {
  const email = mapConsent(given.emailConsent, {
    channel: 'email',
    address: asText(given.email),
    customerId,
  });
  const sms = mapConsent(given.smsConsent, {
    channel: 'sms',
    address: asText(given.phone),
    customerId,
  });
  const mapped = [email, sms].filter((each) => each !== null);
  const entries = mapped.flatMap((each) => ('reason' in each ? [] : [each]));
  return {
    entries: entries.map((entry, at) => ({ ...entry, index: index + at })),
    skipped: mapped.flatMap((each) => ('reason' in each ? [each] : [])),
  };
}

type Person = {
  readonly channel: 'email' | 'sms';
  readonly address: string | undefined;
  readonly customerId: string | undefined;
};

/** Maps one consent. Null if nothing was decided. */
function mapConsent(
  consent: unknown,
  { channel, address, customerId }: Person,
): Omit<SourceEntry, 'index'> | Skipped | null {
  if (!isJsonObject(consent)) return null;
  const state = asText(consent.state)?.toLowerCase();
  if (state === undefined || undecided.has(state)) return null;
  const isSubscription = state === 'subscribed';
  if (!isSubscription && !withdrawn.has(state)) return { reason: 'unknown_consent_state' };
  if (address === undefined) return { reason: 'consent_without_address' };
  const time = readTime(consent.consent_updated_at);
  const at = time.kind === 'read' ? new Date(time.at).toISOString() : undefined;
  if (isSubscription && at === undefined) return { reason: 'consent_without_time' };
  return {
    lane: isSubscription ? 'subscribe' : 'unsubscribe',
    // Only the identifier that the channel needs: the other one may be invalid.
    entry: compact({
      [channel === 'email' ? 'email' : 'phone_number']: address,
      distinct_id: customerId,
      [isSubscription ? 'consented_at' : 'unsubscribed_at']: at,
    }),
    decision: { channel, ...(customerId !== undefined && { state: `${channel}:${customerId}` }) },
  };
}

const undecided: ReadonlySet<string> = new Set(['not_subscribed', 'pending', 'invalid']);
const withdrawn: ReadonlySet<string> = new Set(['unsubscribed', 'redacted']);
