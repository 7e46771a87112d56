import {
  getCountries,
  isSupportedCountry,
  parsePhoneNumberFromString,
  type CountryCode,
} from 'libphonenumber-js/max';
import { limits } from './limits.js';

/**
 * E.164 of a number as a person wrote it, or null where it is none. `place` is a country's ISO 3166
 * code or English name; where it is absent or unknown the default country counts.
 */
export type ToE164 = (raw: string, place?: string | null) => string | null;

/** Parsing takes tens of microseconds, more than the rest of accepting an event, and callers repeat themselves. */
const maxRemembered = 10_000;

/** `defaultCountry`: ISO 3166 code; without it only numbers with a + prefix are understood. */
export function createToE164(defaultCountry?: string): ToE164 {
  const fallback = toCountry(defaultCountry);
  const remembered = new Map<string, string | null>();

  return (raw, place) => {
    if (raw.length > limits.phoneNumberChars) return null;
    const country = toCountry(place) ?? fallback;
    const key = `${country ?? '  '}${raw}`;
    const known = remembered.get(key);
    if (known !== undefined) return known;
    const parsed = parse(raw, country);
    if (remembered.size >= maxRemembered) forgetOldest(remembered);
    remembered.set(key, parsed);
    return parsed;
  };
}

/** Valid, not only possible: Klaviyo refuses the whole batch for a number outside its country's plan. */
function parse(raw: string, country: CountryCode | undefined): string | null {
  const options = { extract: false, ...(country && { defaultCountry: country }) };
  const parsed = parsePhoneNumberFromString(raw, options);
  return parsed?.isValid() ? parsed.number : null;
}

function forgetOldest(remembered: Map<string, string | null>): void {
  for (const key of remembered.keys()) {
    remembered.delete(key);
    return;
  }
}

function toCountry(place: string | null | undefined): CountryCode | undefined {
  if (place === null || place === undefined || place.length > longestPlace) return undefined;
  const name = place.trim().toLowerCase();
  if (name.length !== 2) return countryByName.get(name);
  const code = name === 'uk' ? 'GB' : name.toUpperCase();
  return isSupportedCountry(code) ? code : undefined;
}

/** No country's name is nearly as long. */
const longestPlace = 255;

const displayNames = new Intl.DisplayNames('en', { type: 'region' });

/** Lower-case English names, with the few other spellings shops send. */
const countryByName = new Map<string, CountryCode>([
  ...getCountries().map((code): [string, CountryCode] => [
    (displayNames.of(code) ?? code).toLowerCase(),
    code,
  ]),
  ['usa', 'US'],
  ['united states of america', 'US'],
  ['great britain', 'GB'],
  ['czech republic', 'CZ'],
  ['the netherlands', 'NL'],
  ['turkey', 'TR'],
]);
