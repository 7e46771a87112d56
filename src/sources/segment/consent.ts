import { isJsonObject, stringifyJson, type JsonObject } from '../../json/json.js';
import type { SourceWarning } from '../../ingest/source-entry.js';
import { foldSpelling } from './fields.js';

/**
 * Traits that ask for a subscription, by their folded names: those that RudderStack's Klaviyo
 * destination reads (`subscribe`, `listId`, `consent`), and Klaviyo's own of before (`$consent`). As
 * custom properties they would look like a consent that nobody gave to Klaviyo.
 */
const consentNames = new Set(
  'subscribe unsubscribe listid consent consentmethod consenttimestamp consentformid consentformversion consentedat emailconsent smsconsent marketingconsent emailmarketingconsent smsmarketingconsent acceptsmarketing'.split(
    ' ',
  ),
);

const isConsentTrait = (name: string): boolean =>
  consentNames.has(foldSpelling(name.replace(/^\$/, '')));

export type WithoutConsent = {
  readonly traits: JsonObject;
  readonly warnings: readonly SourceWarning[];
};

/** Takes what asks for a subscription out of traits, and out of the `properties` in them. */
export function removeConsent(traits: JsonObject): WithoutConsent {
  const nested = isJsonObject(traits.properties) ? traits.properties : {};
  const asked = [...listConsentTraits(traits), ...listConsentTraits(nested)];
  if (asked.length === 0) return { traits, warnings: [] };
  const { properties, ...others } = traits;
  const left = isJsonObject(properties) ? dropConsentTraits(properties) : properties;
  const isEmpty = isJsonObject(left) && Object.keys(left).length === 0;
  const words = asked.map(([name, value]) => `${name}=${stringifyJson(value)}`).join(', ');
  const detail = `the profile is sent without consent; asked for: ${words.slice(0, maxChars)}`;
  return {
    traits: {
      ...dropConsentTraits(others),
      ...(left !== undefined && !isEmpty && { properties: left }),
    },
    warnings: [{ code: 'consent_not_sent', pointer: '/traits', detail }],
  };
}

/** Characters of what was asked for that a warning repeats. */
const maxChars = 300;

function listConsentTraits(object: JsonObject): [string, unknown][] {
  return Object.entries(object).filter(
    ([name, value]) => isConsentTrait(name) && value !== undefined,
  );
}

function dropConsentTraits(object: JsonObject): JsonObject {
  return Object.fromEntries(Object.entries(object).filter(([name]) => !isConsentTrait(name)));
}
