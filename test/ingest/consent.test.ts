import { expect, it } from 'vitest';
import { findRevoked, keepNewestRevocations, toRevocations } from '../../src/ingest/consent.js';
import { draftSubscription, draftUnsubscription } from '../../src/ingest/draft-subscription.js';
import { createToE164 } from '../../src/ingest/phone.js';
import type { Draft, Envelope } from '../../src/model/envelope.js';
import { startMs } from '../support/builders.js';

const toE164 = createToE164(undefined);
const email = 'ada@klaviyo-demo.com';
const phone = '+15005550006';
const minute = 60_000;

function draftOf(draft: typeof draftSubscription, posted: object, acceptedAt: number): Draft {
  const drafted = draft(posted, { toE164, acceptedAt });
  if (!drafted.ok) throw new Error(JSON.stringify(drafted.errors));
  return drafted.draft;
}

const byEmail = { email, channels: { email: ['marketing'] } };
const iso = (ms: number): string => new Date(ms).toISOString();

/** The reason codes for a subscription after an unsubscription that was accepted at `startMs`. */
async function findReasons(
  unsubscription: object,
  subscription: object,
  acceptedAt = startMs + minute,
): Promise<readonly string[]> {
  const facts = new Map(
    toRevocations([draftOf(draftUnsubscription, unsubscription, startMs)]).map(({ key, value }) => [
      key,
      value,
    ]),
  );
  const envelope: Envelope = {
    ...draftOf(draftSubscription, subscription, acceptedAt),
    id: 'su_1',
    attempts: 0,
  };
  const found = await findRevoked([envelope], (keys) =>
    Promise.resolve(keys.map((key) => facts.get(key) ?? null)),
  );
  return [...found].map(([id, { code }]) => `${id} ${code}`);
}

const historical = (consentedAt: number) => ({
  historical: true,
  consented_at: iso(consentedAt),
});

it.each<[string, object, object, boolean]>([
  ['an older consent', byEmail, { ...byEmail, ...historical(startMs - 1) }, true],
  ['a newer consent', byEmail, { ...byEmail, ...historical(startMs + 1) }, false],
  ['a consent without a time', byEmail, byEmail, false],
  [
    'an older consent that is not historical',
    byEmail,
    { ...byEmail, consented_at: iso(startMs - 1) },
    true,
  ],
  [
    'an older consent to a list',
    byEmail,
    { ...byEmail, ...historical(startMs - 1), list_id: 'A' },
    true,
  ],
  [
    'an older consent of another spelling of the address',
    byEmail,
    { ...byEmail, email: 'ADA@klaviyo-demo.com', ...historical(startMs - 1) },
    true,
  ],
  [
    'an older consent of another person',
    byEmail,
    { ...byEmail, email: 'bo@klaviyo-demo.com', ...historical(startMs - 1) },
    false,
  ],
  [
    'an older consent to another channel',
    byEmail,
    { email, phone_number: phone, channels: { sms: ['marketing'] }, ...historical(startMs - 1) },
    false,
  ],
])(
  'after an unsubscription from everything, %s is compared',
  async (_name, posted, later, isRevoked) => {
    const reasons = await findReasons({ ...posted, everywhere: true }, later);
    expect(reasons).toEqual(isRevoked ? ['su_1 consent_withdrawn'] : []);
  },
);

it('after an unsubscription from a list, only an older consent to this list is withdrawn', async () => {
  const fromA = { ...byEmail, list_id: 'A' };
  const old = { ...byEmail, ...historical(startMs - 1) };
  expect(await findReasons(fromA, { ...old, list_id: 'A' })).toEqual(['su_1 consent_withdrawn']);
  expect(await findReasons(fromA, { ...old, list_id: 'B' })).toEqual([]);
  expect(await findReasons(fromA, old)).toEqual([]);
});

it('a consent that was new when it was accepted is sent before a later unsubscription', async () => {
  const everywhere = { ...byEmail, everywhere: true };
  expect(await findReasons(everywhere, byEmail, startMs - 1)).toEqual([]);
});

it('a consent from the past is withdrawn by an unsubscription that comes before it is sent', async () => {
  const everywhere = { ...byEmail, everywhere: true };
  const old = { ...byEmail, ...historical(startMs - minute) };
  expect(await findReasons(everywhere, old, startMs - 1)).toEqual(['su_1 consent_withdrawn']);
});

it('an unsubscription that is posted late does not replace a newer one', async () => {
  const withdrawnAt = (ms: number) =>
    toRevocations([
      draftOf(
        draftUnsubscription,
        { ...byEmail, everywhere: true, unsubscribed_at: iso(ms) },
        startMs,
      ),
    ]);
  const [newer] = withdrawnAt(startMs - 1);
  const older = withdrawnAt(startMs - minute);
  const stored = (value: string | null) => () => Promise.resolve([value]);
  expect(await keepNewestRevocations(older, stored(newer?.value ?? null))).toEqual([]);
  expect(await keepNewestRevocations(older, stored(null))).toEqual(older);
  expect(await keepNewestRevocations([newer!], stored(older[0]!.value))).toEqual([newer]);
  expect(await keepNewestRevocations([newer!, ...older], stored(null))).toEqual([newer]);
});

it('a consent that is newer than the time of the unsubscription is sent', async () => {
  const withdrawn = { ...byEmail, everywhere: true, unsubscribed_at: iso(startMs - minute) };
  expect(await findReasons(withdrawn, { ...byEmail, ...historical(startMs - 1) })).toEqual([]);
  expect(await findReasons(withdrawn, { ...byEmail, ...historical(startMs - 2 * minute) })).toEqual(
    ['su_1 consent_withdrawn'],
  );
});

it('drafts of other lanes leave no facts, and the facts contain no address', () => {
  const subscription = draftOf(draftSubscription, byEmail, startMs);
  expect(toRevocations([subscription])).toEqual([]);
  const unsubscription = draftOf(draftUnsubscription, { ...byEmail, everywhere: true }, startMs);
  const facts = toRevocations([unsubscription]);
  expect(facts).toMatchObject([
    { kind: 'consent', value: `${startMs} ${unsubscription.keys[0] ?? ''}` },
  ]);
  expect(JSON.stringify(facts)).not.toContain('ada');
});
