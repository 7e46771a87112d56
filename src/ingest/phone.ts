import {
  getCountries,
  isSupportedCountry,
  parsePhoneNumberFromString,
  type CountryCode,
} from 'libphonenumber-js/max';
import { limits } from './limits.js';

/**
 * Converts a phone number as a person wrote it to E.164; null if it is not a valid number. `place` is the
 * ISO 3166 code or English name of a country; if it is absent or unknown, the default country applies.
 */
export type ToE164 = (raw: string, place?: string | null) => string | null;

/** Numbers whose result is cached. Parsing takes tens of microseconds, more than the rest of accepting an event, and callers send the same numbers again. */
const maxCached = 10_000;

/** `defaultCountry`: ISO 3166 code. Without it, numbers need a + prefix. */
export function createToE164(defaultCountry?: string): ToE164 {
  const fallback = toCountryCode(defaultCountry);
  const cache = new Map<string, string | null>();

  return (raw, place) => {
    if (raw.length > limits.phoneNumberChars) return null;
    const country = toCountryCode(place) ?? fallback;
    const key = `${country ?? '  '}${raw}`;
    const cached = cache.get(key);
    if (cached !== undefined) return cached;
    const parsed = parsePhone(raw, country);
    if (cache.size >= maxCached) deleteOldest(cache);
    cache.set(key, parsed);
    return parsed;
  };
}

/** The number must be valid, not only possible: Klaviyo rejects a whole batch for a number outside its country's plan. */
function parsePhone(raw: string, country: CountryCode | undefined): string | null {
  const options = { extract: false, ...(country && { defaultCountry: country }) };
  const parsed = parsePhoneNumberFromString(raw, options);
  return parsed?.isValid() ? parsed.number : null;
}

function deleteOldest(cache: Map<string, string | null>): void {
  for (const key of cache.keys()) {
    cache.delete(key);
    return;
  }
}

function toCountryCode(place: string | null | undefined): CountryCode | undefined {
  if (place === null || place === undefined || place.length > maxPlaceChars) return undefined;
  const name = place.trim().toLowerCase();
  if (name.length !== 2) return countryByName.get(name);
  const code = name === 'uk' ? 'GB' : name.toUpperCase();
  return isSupportedCountry(code) ? code : undefined;
}

/** Characters of a place; no country's name is as long. */
const maxPlaceChars = 255;

const displayNames = new Intl.DisplayNames('en', { type: 'region' });

/** Lower-case English names of countries, and some other spellings that shops send. */
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
