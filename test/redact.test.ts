import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { redactText } from '../src/redact.js';

describe('a text for the log', () => {
  it.each([
    ["'ada@example.org' is not a valid email", "'[email]' is not a valid email"],
    ['ADA.Lovelace+x@mail.example.co.uk twice: b@c.de', '[email] twice: [email]'],
    ['jürgen@müller.example failed', '[email] failed'],
    ['user%40example.org failed', '[email] failed'],
    ['"ada l"@example.org failed', '[email] failed'],
    ['phone +15555550123 is taken', 'phone [number] is taken'],
    ['phone (555) 555-0123 is taken', 'phone [number] is taken'],
    ['phone +49 30 1234 5678 is taken', 'phone [number] is taken'],
    ['id 4111111111111111 is taken', 'id [number] is taken'],
    ['key pk_0123456789abcdef is revoked', 'key [key] is revoked'],
    ['Klaviyo-API-Key pk_ab-cd', 'Klaviyo-API-Key [key]'],
  ])('loses addresses, numbers and keys: %s', (text, redacted) => {
    expect(redactText(text)).toBe(redacted);
  });

  it.each([
    "'value_currency' is not a valid field",
    'Klaviyo answered 503',
    'something between us and Klaviyo answered 403 ("Access denied")',
    'Request was throttled. Expected available in 12 seconds.',
    'given up after 12 attempts; the last: unavailable: Klaviyo answered 500',
    'at most 1,000 events',
    '',
  ])('keeps what says what happened: %s', (text) => {
    expect(redactText(text)).toBe(text);
  });

  it('loses an address wherever it stands, and losing twice changes nothing', () => {
    fc.assert(
      fc.property(fc.string(), fc.emailAddress(), fc.string(), (before, address, after) => {
        const redacted = redactText(`${before} ${address} ${after}`);
        expect(redacted).not.toContain(address);
        expect(redactText(redacted)).toBe(redacted);
      }),
    );
  });
});
