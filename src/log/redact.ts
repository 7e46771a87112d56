import type { Reason } from '../model/outcome.js';

/**
 * Removes from a text what a log must not contain: e-mail addresses, phone numbers, UUIDs (most anonymous
 * ids are UUIDs) and API keys. Klaviyo's error texts can quote a record. When in doubt, the text is removed.
 */
export function redactText(text: string): string {
  return patterns.reduce((left, [pattern, instead]) => left.replace(pattern, instead), text);
}

/** Removes the same from a reason that outlives the record it quotes. */
export const redactReason = ({ detail, faults, ...rest }: Reason): Reason => ({
  ...rest,
  detail: redactText(detail),
  ...(faults !== undefined && {
    faults: faults.map((fault) => ({ ...fault, detail: redactText(fault.detail) })),
  }),
});

const patterns: readonly (readonly [RegExp, string])[] = [
  [/\b[ps]k_[\w-]+/gi, '[key]'],
  [/\b[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\b/gi, '[id]'],
  // The local part of an address can contain nearly any character. A quote before the address is kept.
  [
    /(?:"[^"@\n]{1,64}"|(?!')[^\s"<>()[\],;:\\@]{0,128})(?:@|%40)[^\s"'<>()[\],;:\\@]{1,255}/giu,
    '[email]',
  ],
  // Seven or more digits, in any grouping.
  [/\+?\(?\d(?:[\s().\-/]{0,3}\d){6,}/g, '[number]'],
];

/** IP addresses, times and process ids look like phone numbers, and are kept. */
const kept =
  /((?<![\d.])\d{1,3}(?:\.\d{1,3}){3}(?![\d.])|\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z|(?<=\bprocess )\d{1,7}\b)/;

/** Like redactText, but keeps IP addresses, times and process ids. For error messages. */
export function redactMessage(text: string): string {
  return text
    .split(kept)
    .map((part, index) => (index % 2 === 1 ? part : redactText(part)))
    .join('');
}

const censor = '[redacted]';

/**
 * Returns a function that removes secrets from a text: in plain form, JSON-escaped and URL-encoded.
 * `read` is called for each text, since a reload can add secrets.
 */
export function createSecretFilter(read: () => readonly string[]): (text: string) => string {
  let known: readonly string[] = [];
  let forms: readonly string[] = [];
  return (text) => {
    const secrets = read();
    if (secrets !== known) forms = toForms(secrets);
    known = secrets;
    return forms.reduce((left, secret) => left.replaceAll(secret, censor), text);
  };
}

/** Sorted by length, the longest first, since one secret can be a part of another. */
function toForms(secrets: readonly string[]): readonly string[] {
  const forms = secrets.flatMap((secret) => [
    secret,
    JSON.stringify(secret).slice(1, -1),
    encodeURIComponent(secret),
  ]);
  return [...new Set(forms)].sort((a, b) => b.length - a.length);
}
