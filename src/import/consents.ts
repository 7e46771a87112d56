/**
 * The consents in a file of subscribers: for each channel a column that says whether the person
 * consented, and a column with the date.
 */

import { fold } from './fold.js';
import { ImportError } from './import-error.js';
import type { CellValue } from './times.js';

/**
 * The fields of each channel. They have the names of the columns of Klaviyo's exports, such as
 * `Email Marketing Consent Timestamp`.
 */
export const consentFields = {
  email: { consent: 'email_marketing_consent', date: 'email_marketing_consent_timestamp' },
  sms: { consent: 'sms_marketing_consent', date: 'sms_marketing_consent_timestamp' },
} as const;

export type ConsentChannel = keyof typeof consentFields;

export const consentChannels = Object.keys(consentFields) as readonly ConsentChannel[];

const all = Object.values(consentFields);
export const consentNames: readonly string[] = all.map(({ consent }) => consent);
export const consentDateNames: readonly string[] = all.map(({ date }) => date);

/**
 * Words of exports: statuses of Klaviyo (SUBSCRIBED, UNSUBSCRIBED, NEVER_SUBSCRIBED) and of Shopify
 * (also NOT_SUBSCRIBED and PENDING), and yes, no, true and false of Shopify's CSV and of databases.
 * Numbers are not among them: in Magento 1 is subscribed and 3 is unsubscribed.
 */
const given = ['subscribed', 'yes', 'true'];
const absent = ['unsubscribed', 'never_subscribed', 'not_subscribed', 'pending', 'no', 'false'];

const meanings = new Map([
  ...given.map((word) => [fold(word), true] as const),
  ...absent.map((word) => [fold(word), false] as const),
]);

/** The value is true if the person consented, and false if the text says that they did not. */
export function readConsent(text: string): CellValue {
  const value = meanings.get(fold(text));
  if (value !== undefined) return { ok: true, value };
  const detail = `is neither a consent (${given.join(', ')}) nor says that there is none (${absent.join(', ')})`;
  return { ok: false, detail };
}

/** Throws ImportError if these fields cannot give a consent with its date. */
export function checkConsentFields(names: readonly string[]): void {
  const has = (name: string): boolean => names.includes(name);
  for (const { consent, date } of all) {
    if (has(consent) && !has(date)) {
      throw new ImportError(
        `there is ${consent} without ${date}, but each consent needs its date: name the column of the date with --map "COLUMN=${date}", or leave these consents out with --omit`,
      );
    }
    if (has(date) && !has(consent)) {
      throw new ImportError(`there is ${date} without ${consent}: ${howToSay(consent)}`);
    }
  }
  if (!consentNames.some(has)) {
    throw new ImportError(
      `the header has no ${consentNames.join(' or ')}: ${howToSay(consentFields.email.consent)}`,
    );
  }
}

const howToSay = (consent: string): string =>
  `name the column that says who consented with --map "COLUMN=${consent}", or, only if everyone in the file did, use --set ${consent}=subscribed`;
