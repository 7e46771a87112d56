/**
 * The consent of one profile by channel, and what keeps its email address from receiving marketing:
 * suppressions of the account and of single lists. Klaviyo keeps a suppression apart from consent: a
 * suppressed profile receives no email marketing, whatever its consent is
 * (developers.klaviyo.com/en/docs/collect_email_and_sms_consent_via_api).
 */

/** A kind of message on a channel, by the names of Klaviyo's subscription endpoints. */
export type ConsentType =
  | 'email.marketing'
  | 'email.open_tracking'
  | 'sms.marketing'
  | 'sms.transactional'
  | 'whatsapp.marketing'
  | 'whatsapp.transactional'
  | 'whatsapp.conversational'
  | 'push.marketing';

/** A type without a record is `NEVER_SUBSCRIBED`. */
export type ConsentRecord = {
  readonly status: 'SUBSCRIBED' | 'UNSUBSCRIBED';
  /** When the consent was given or withdrawn. All times here are epoch ms. */
  readonly consentedAt: number;
  readonly createdAt: number;
  readonly updatedAt: number;
  /** `custom_source` of the subscription job. */
  readonly source: string | null;
};

/** Klaviyo has further reasons for bounces, invalid addresses and complaints. */
export type Suppression = {
  readonly reason: 'UNSUBSCRIBE' | 'USER_SUPPRESSED';
  readonly at: number;
};
export type ListSuppression = Suppression & { readonly listId: string };

/** Mutable: it belongs to one profile. */
export type ProfileConsent = {
  readonly records: Map<ConsentType, ConsentRecord>;
  suppressions: readonly Suppression[];
  listSuppressions: readonly ListSuppression[];
};

export function createConsent(): ProfileConsent {
  return { records: new Map(), suppressions: [], listSuppressions: [] };
}

export type ConsentChange = {
  readonly type: ConsentType;
  /** Epoch ms at which the person consented. */
  readonly consentedAt: number;
  readonly source: string | null;
};

/**
 * Grants consent. Consent to email marketing lifts the suppressions that a person or a user of the
 * account has set, and the suppression of the list `listId` (Klaviyo's OpenAPI names
 * `UNSUBSCRIBE`, `SPAM_REPORT` and `USER_SUPPRESSED`).
 */
export function grantConsent(
  consent: ProfileConsent,
  { type, consentedAt, source }: ConsentChange,
  { at, listId }: { readonly at: number; readonly listId: string | null },
): void {
  setRecord(consent, type, { status: 'SUBSCRIBED', consentedAt, at, source });
  if (type !== 'email.marketing') return;
  consent.suppressions = [];
  consent.listSuppressions = consent.listSuppressions.filter((one) => one.listId !== listId);
}

/** Withdraws consent for the whole account. For email marketing this suppresses the address. */
export function revokeConsent(consent: ProfileConsent, type: ConsentType, at: number): void {
  setRecord(consent, type, { status: 'UNSUBSCRIBED', consentedAt: at, at, source: null });
  if (type === 'email.marketing') addSuppression(consent, { reason: 'UNSUBSCRIBE', at });
}

/** Suppresses email marketing of one list and leaves the consent as it is. */
export function suppressForList(consent: ProfileConsent, listId: string, at: number): void {
  if (consent.listSuppressions.some((one) => one.listId === listId)) return;
  const suppression = { listId, reason: 'UNSUBSCRIBE', at } as const;
  consent.listSuppressions = [...consent.listSuppressions, suppression];
}

/** Adds a suppression. Returns false if there is one for this reason. */
export function addSuppression(consent: ProfileConsent, suppression: Suppression): boolean {
  if (consent.suppressions.some(({ reason }) => reason === suppression.reason)) return false;
  consent.suppressions = [...consent.suppressions, suppression];
  return true;
}

/** Removes the suppression for this reason. Returns false if there is none. */
export function removeSuppression(consent: ProfileConsent, reason: Suppression['reason']): boolean {
  const kept = consent.suppressions.filter((one) => one.reason !== reason);
  const isRemoved = kept.length < consent.suppressions.length;
  consent.suppressions = kept;
  return isRemoved;
}

/**
 * Adds the consent of a merged profile. For each type the newer record stays; suppressions of both
 * remain.
 */
export function mergeConsent(into: ProfileConsent, other: ProfileConsent): void {
  for (const [type, record] of other.records) {
    const own = into.records.get(type);
    if (own === undefined || own.updatedAt < record.updatedAt) into.records.set(type, record);
  }
  for (const suppression of other.suppressions) addSuppression(into, suppression);
  for (const { listId, at } of other.listSuppressions) suppressForList(into, listId, at);
}

function setRecord(
  { records }: ProfileConsent,
  type: ConsentType,
  change: Pick<ConsentRecord, 'status' | 'consentedAt' | 'source'> & { readonly at: number },
): void {
  const { status, consentedAt, source, at } = change;
  const createdAt = records.get(type)?.createdAt ?? at;
  records.set(type, { status, consentedAt, createdAt, updatedAt: at, source });
}
