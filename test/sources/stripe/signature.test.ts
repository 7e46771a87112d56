import { createHmac } from 'node:crypto';
import fc from 'fast-check';
import Stripe from 'stripe';
import { describe, expect, it } from 'vitest';
import { verifyStripeSignature } from '../../../src/sources/stripe/signature.js';

const secret = 'whsec_one';
const other = 'whsec_two';
const toleranceSeconds = 300;
/** 2026-01-15T12:00:00.789Z */
const now = Date.UTC(2026, 0, 15, 12) + 789;
const seconds = Math.floor(now / 1000);
const body = '{"id":"evt_1","object":"event"}';

const sign = (timestamp: string | number, by = secret, over = body): string =>
  createHmac('sha256', by).update(`${timestamp}.${over}`).digest('hex');

const judge = (header: string | undefined, secrets: readonly string[] = [secret], over = body) =>
  verifyStripeSignature(header, Buffer.from(over), { secrets, toleranceSeconds, now });

/** The result of Stripe's own SDK for an endpoint that tries several secrets. */
const stripe = new Stripe('sk_test_1');
const acceptsBySdk = (header: string, secrets: readonly string[], over = body): boolean =>
  secrets.some((each) => {
    try {
      stripe.webhooks.constructEvent(over, header, each, toleranceSeconds, undefined, now);
      return true;
    } catch {
      return false;
    }
  });

const good = sign(seconds);
const bad = sign(seconds, 'whsec_other');

describe('a Stripe signature', () => {
  const accepted: [string, string][] = [
    ['of now', `t=${seconds},v1=${good}`],
    ['as old as it may be', `t=${seconds - 300},v1=${sign(seconds - 300)}`],
    ['from the future', `t=${seconds + 9999},v1=${sign(seconds + 9999)}`],
    ['after one of an older secret', `t=${seconds},v1=${bad},v1=${good}`],
    ['before one of another secret', `t=${seconds},v1=${good},v1=${bad}`],
    ['beside one of the scheme v0', `t=${seconds},v1=${good},v0=${bad}`],
    ['before its timestamp', `v1=${good},t=${seconds}`],
    ['with the last of two timestamps', `t=1,v1=${good},t=${seconds}`],
    ['beside one that is too short', `t=${seconds},v1=abc,v1=${good}`],
  ];
  it.each(accepted)('is accepted: %s', (_name, header) => {
    expect(judge(header)).toEqual({ ok: true });
    expect(acceptsBySdk(header, [secret])).toBe(true);
  });

  const tooOld = 'is too old: more than 300 s (STRIPE_TOLERANCE_SECONDS)';
  const unmatched = 'no secret matches';
  const refused: [string, string, string][] = [
    ['a second too old', `t=${seconds - 301},v1=${sign(seconds - 301)}`, tooOld],
    ['no timestamp', `v1=${good}`, 'no timestamp'],
    ['a timestamp of -1', `t=-1,v1=${sign(-1)}`, 'no timestamp'],
    ['another timestamp', `t=${seconds - 1},v1=${good}`, unmatched],
    ['another secret', `t=${seconds},v1=${bad}`, unmatched],
    ['upper-case hex', `t=${seconds},v1=${good.toUpperCase()}`, unmatched],
    ['a space after the comma', `t=${seconds}, v1=${good}`, 'no signature: v1'],
    ['only v0', `t=${seconds},v0=${good}`, 'no signature: v1'],
    ['an empty v1 beside a good one', `t=${seconds},v1=,v1=${good}`, 'no signature'],
    ['a v1 that is not ASCII', `t=${seconds},v1=${'é'.repeat(64)},v1=${good}`, 'no signature'],
    ['blank', '   ', 'no timestamp'],
    ['anything', 'hello', 'no timestamp'],
  ];
  it.each(refused)('is rejected: %s', (_name, header, words) => {
    const verdict = judge(header);
    expect(verdict.ok ? 'accepted' : verdict.detail).toContain(words);
    expect(acceptsBySdk(header, [secret])).toBe(false);
  });

  it.each([undefined, ''])('is rejected if it is absent: %j', (header) => {
    expect(judge(header)).toEqual({ ok: false, detail: 'the header Stripe-Signature is missing' });
  });

  it('is rejected if one byte of the body differs', () => {
    expect(judge(`t=${seconds},v1=${good}`, [secret], `${body} `).ok).toBe(false);
  });

  it('is accepted with any of several secrets', () => {
    const header = `t=${seconds},v1=${sign(seconds, other)}`;
    expect(judge(header, [secret, other])).toEqual({ ok: true });
    expect(judge(header, [other, secret])).toEqual({ ok: true });
  });

  it.each(['', '  ', '\t\n'])('is rejected with a blank secret: %j', (blank) => {
    const header = `t=${seconds},v1=${sign(seconds, blank)}`;
    expect(judge(header, [blank]).ok).toBe(false);
    expect(acceptsBySdk(header, [blank])).toBe(false);
  });

  it('does not appear in the text of the error', () => {
    for (const [, header] of refused) {
      expect(JSON.stringify(judge(header))).not.toContain(good.slice(0, 8));
    }
  });
});

/** Mostly usual headers, so that both results occur often. */
const mostly = <T>(usual: fc.Arbitrary<T>, ...odd: readonly T[]): fc.Arbitrary<T> =>
  fc.oneof({ arbitrary: usual, weight: 9 }, { arbitrary: fc.constantFrom(...odd), weight: 1 });

const timestamp = mostly(
  fc.integer({ min: seconds - 450, max: seconds + 150 }).map(String),
  ...[String(seconds - 300), String(seconds - 301)],
  ...['', '-1', ' 12', 'NaN', '1e9', '12abc', '9'.repeat(30), '0x10', '-5'],
);
const payload = fc.oneof(fc.json(), fc.constantFrom(body, '{}', '[]', '"é"'));
const signer = mostly(fc.constantFrom(secret, other), 'whsec_unknown', ' ');
const mangle = mostly<(hex: string) => string>(
  fc.constant((hex) => hex),
  (hex) => hex.toUpperCase(),
  (hex) => hex.slice(1),
  (hex) => `${hex}0`,
  (hex) => `${hex}=x`,
  (hex) => ` ${hex}`,
  () => '',
  () => 'ö'.repeat(64),
  () => 'ö'.repeat(32),
);
const scheme = mostly(fc.constant('v1'), 'v0', 'V1', ' v1', 'v2');
const parts = fc.array(fc.record({ signer, mangle, scheme }), { maxLength: 4 });
const stamps = mostly(
  timestamp.map((each) => [each]),
  [],
  ['1', String(seconds)],
  [String(seconds), '1'],
);
const secrets = mostly<readonly string[]>(
  fc.constantFrom([secret], [other], [secret, other]),
  [' ', secret],
  [' '],
);
const separator = mostly(fc.constant(','), ', ', ',,', ';');
const bare = mostly(fc.constant(''), 'v1', 't');

const header = fc
  .record({ stamps, parts, separator, bare, signaturesFirst: fc.boolean() })
  .map((made) => (over: string) => {
    const stamp = made.stamps.at(-1) ?? '';
    // The form of a timestamp that stripe-node puts in front of the payload.
    const signed = `${parseInt(stamp, 10)}`;
    const times = made.stamps.map((each) => `t=${each}`);
    const signatures = made.parts.map(
      ({ signer: by, mangle: change, scheme: name }) => `${name}=${change(sign(signed, by, over))}`,
    );
    const all = made.signaturesFirst ? [...signatures, ...times] : [...times, ...signatures];
    return [...all, ...(made.bare === '' ? [] : [made.bare])].join(made.separator);
  });

it("for any header, the result is that of Stripe's own SDK", () => {
  const seen = { accepted: 0, refused: 0 };
  fc.assert(
    fc.property(header, payload, secrets, (toHeader, over, by) => {
      const text = toHeader(over);
      const { ok } = judge(text, by, over);
      seen[ok ? 'accepted' : 'refused']++;
      expect(ok, text).toBe(acceptsBySdk(text, by, over));
    }),
    { numRuns: 5000 },
  );
  expect(Math.min(seen.accepted, seen.refused)).toBeGreaterThan(500);
});
