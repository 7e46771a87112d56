/**
 * Takes out of a text what a log must not hold: e-mail addresses, phone numbers, UUIDs and API keys.
 * Klaviyo's words may quote a record; an anonymous id is mostly a UUID. Pure; rather takes out too much than too little.
 */
export function redactText(text: string): string {
  return patterns.reduce((left, [pattern, instead]) => left.replace(pattern, instead), text);
}

const patterns: readonly (readonly [RegExp, string])[] = [
  [/\b[ps]k_[\w-]+/gi, '[key]'],
  [/\b[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\b/gi, '[id]'],
  // A local part may hold nearly anything; a quote before it stays.
  [
    /(?:"[^"@\n]{1,64}"|(?!')[^\s"<>()[\],;:\\@]{0,128})(?:@|%40)[^\s"'<>()[\],;:\\@]{1,255}/giu,
    '[email]',
  ],
  // Seven digits or more, however they are grouped.
  [/\+?\(?\d(?:[\s().\-/]{0,3}\d){6,}/g, '[number]'],
];

/** Addresses of servers, times and numbers of processes look like phone numbers. */
const kept =
  /((?<![\d.])\d{1,3}(?:\.\d{1,3}){3}(?![\d.])|\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z|(?<=\bprocess )\d{1,7}\b)/;

/** redactText for the message of an error, which also says where and when. */
export function redactMessage(text: string): string {
  return text
    .split(kept)
    .map((part, index) => (index % 2 === 1 ? part : redactText(part)))
    .join('');
}

const censor = '[redacted]';

/**
 * Returns a function that takes secrets out of a text: as they are, as JSON has them and as an address has
 * them. `read` is called for each text, since secrets may be added while the process runs.
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

/** The longest first: one may be a part of another. */
function toForms(secrets: readonly string[]): readonly string[] {
  const forms = secrets.flatMap((secret) => [
    secret,
    JSON.stringify(secret).slice(1, -1),
    encodeURIComponent(secret),
  ]);
  return [...new Set(forms)].sort((a, b) => b.length - a.length);
}
