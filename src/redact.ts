/**
 * Takes out of a text what a log must not hold: e-mail addresses, phone numbers and API keys.
 * Klaviyo's words may quote a record. Pure; rather takes out too much than too little.
 */
export function redactText(text: string): string {
  return patterns.reduce((left, [pattern, instead]) => left.replace(pattern, instead), text);
}

const patterns: readonly (readonly [RegExp, string])[] = [
  [/\b[ps]k_[\w-]+/gi, '[key]'],
  // A local part may hold nearly anything; a quote before it stays.
  [
    /(?:"[^"@\n]{1,64}"|(?!')[^\s"<>()[\],;:\\@]{0,128})(?:@|%40)[^\s"'<>()[\],;:\\@]{1,255}/giu,
    '[email]',
  ],
  // Seven digits or more, however they are grouped.
  [/\+?\(?\d(?:[\s().\-/]{0,3}\d){6,}/g, '[number]'],
];
