import { describe, expect, it } from 'vitest';
import { draftSuppression, draftUnsuppression } from '../../src/ingest/draft-suppression.js';
import { toProfileKeys } from '../../src/ingest/identity.js';
import { startMs } from '../support/builders.js';

const context = { acceptedAt: startMs };
const email = 'Ada@klaviyo-demo.com';

describe.each([
  ['a suppression', 'suppress', draftSuppression],
  ['an unsuppression', 'unsuppress', draftUnsuppression],
] as const)('%s', (noun, lane, draft) => {
  it('becomes a profile with the address alone, and has the key of the person', () => {
    const drafted = draft({ email }, context);
    if (!drafted.ok) throw new Error(JSON.stringify(drafted.errors));
    const { payload, ...rest } = drafted.draft;
    expect(rest).toEqual({ lane, keys: toProfileKeys({ email }), acceptedAt: startMs });
    expect(JSON.parse(Buffer.from(payload).toString())).toEqual({
      type: 'profile',
      attributes: { email },
    });
  });

  it.each([
    ['no address', {}, '/email'],
    ['null for the address', { email: null }, '/email'],
    ['an address that is none', { email: 'ada' }, '/email'],
    ['a phone number', { email, phone_number: '+15005550006' }, '/phone_number'],
    ['a channel', { email, channels: { email: ['marketing'] } }, '/channels'],
    ['a list', { email, list_id: 'Y6nRLr' }, '/list_id'],
  ])('with %s is invalid', (_name, entry, pointer) => {
    expect(draft(entry, context)).toMatchObject({ ok: false, errors: [{ pointer }] });
  });

  it('must be an object', () => {
    const detail = `must be a JSON object: one ${noun.split(' ')[1] ?? ''}`;
    expect(draft([email], context)).toEqual({ ok: false, errors: [{ pointer: '', detail }] });
  });
});
