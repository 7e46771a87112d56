import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createSecretFilter, redactMessage, redactText } from '../../src/log/redact.js';

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
    [
      "anonymous_id '3f2b8c1e-9a4d-4e1f-8b7a-0c5d6e7f8a9b' is not valid",
      "anonymous_id '[id]' is not valid",
    ],
    ['3F2B8C1E-9A4D-4E1F-8B7A-0C5D6E7F8A9B is taken', '[id] is taken'],
  ])('has its addresses, numbers, keys and UUIDs redacted: %s', (text, redacted) => {
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
  ])('keeps what describes the failure: %s', (text) => {
    expect(redactText(text)).toBe(text);
  });

  it('has an address redacted at any position, and a second redaction changes nothing', () => {
    fc.assert(
      fc.property(fc.string(), fc.emailAddress(), fc.string(), (before, address, after) => {
        const redacted = redactText(`${before} ${address} ${after}`);
        expect(redacted).not.toContain(address);
        expect(redactText(redacted)).toBe(redacted);
      }),
    );
  });
});

describe('the message of an error', () => {
  it.each([
    ['connect ECONNREFUSED 192.168.100.10:6379', 'connect ECONNREFUSED 192.168.100.10:6379'],
    [
      'is held by process 4123456 on host since 2026-11-30T03:27:20.123Z: one process at a time',
      'is held by process 4123456 on host since 2026-11-30T03:27:20.123Z: one process at a time',
    ],
    ['ada@example.org was born on 1815-12-10', '[email] was born on [number]'],
    ['process +15555550123 failed', 'process [number] failed'],
  ])('keeps servers, processes and times, and has personal data redacted: %s', (text, redacted) => {
    expect(redactMessage(text)).toBe(redacted);
  });
});

describe('the filter of secrets', () => {
  it('finds a secret in plain text, in JSON and in a URL', () => {
    const filter = createSecretFilter(() => ['a "b"/c']);
    expect(filter(`a "b"/c, ${JSON.stringify('a "b"/c')}, ${encodeURIComponent('a "b"/c')}`)).toBe(
      '[redacted], "[redacted]", [redacted]',
    );
  });

  it('finds the longer of two secrets if one begins with the other', () => {
    expect(createSecretFilter(() => ['key', 'key-long'])('with key-long')).toBe('with [redacted]');
  });

  it('finds secrets that are added later', () => {
    let secrets = ['one'];
    const filter = createSecretFilter(() => secrets);
    expect(filter('one two')).toBe('[redacted] two');
    secrets = ['one', 'two'];
    expect(filter('one two')).toBe('[redacted] [redacted]');
  });
});
