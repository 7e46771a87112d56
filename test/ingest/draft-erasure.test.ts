import { describe, expect, it } from 'vitest';
import { draftErasure } from '../../src/ingest/draft-erasure.js';
import { toProfileKeys } from '../../src/ingest/identity.js';
import { createToE164 } from '../../src/ingest/phone.js';
import { startMs } from '../support/builders.js';

const context = { toE164: createToE164(undefined), acceptedAt: startMs };

const issuesOf = (entry: unknown): readonly string[] => {
  const drafted = draftErasure(entry, context);
  return drafted.ok ? [] : drafted.errors.map(({ pointer, detail }) => `${pointer} ${detail}`);
};

describe('an erasure', () => {
  it.each([
    [{ email: 'Ada@klaviyo-demo.com' }, { email: 'Ada@klaviyo-demo.com' }],
    [{ phone_number: '+1 (500) 555-0006' }, { phone_number: '+15005550006' }],
    [{ distinct_id: 42, email: null }, { external_id: '42' }],
  ])('%j becomes a profile with one identifier and one identity key', (posted, attributes) => {
    const drafted = draftErasure(posted, context);
    if (!drafted.ok) throw new Error(JSON.stringify(drafted.errors));
    const { lane, keys, payload } = drafted.draft;
    expect(lane).toBe('erase');
    expect(JSON.parse(Buffer.from(payload).toString())).toEqual({ type: 'profile', attributes });
    const {
      email,
      phone_number: phoneNumber,
      external_id: externalId,
    } = {
      email: undefined,
      phone_number: undefined,
      external_id: undefined,
      ...attributes,
    };
    expect(keys).toEqual(
      toProfileKeys({
        ...(email !== undefined && { email }),
        ...(phoneNumber !== undefined && { phoneNumber }),
        ...(externalId !== undefined && { externalId }),
      }),
    );
  });

  it('names the field that is at fault', () => {
    const together = 'must not be given together with email: name one identifier';
    expect(issuesOf({ email: 'ada@klaviyo-demo.com', phone_number: '+15005550006' })).toEqual([
      `/phone_number ${together}`,
    ]);
    expect(issuesOf({ email: 'ada@klaviyo-demo.com', distinct_id: '1' })).toEqual([
      `/distinct_id ${together}`,
    ]);
    expect(issuesOf({ email: 'ada' })).toEqual(['/email must be an e-mail address']);
    expect(issuesOf({ phone_number: '12' })[0]).toMatch(/^\/phone_number /);
    expect(issuesOf({})).toEqual([' needs at least one of email, phone_number and distinct_id']);
    expect(issuesOf({ email: 'ada@klaviyo-demo.com', list: 'x' })[0]).toMatch(/^\/list /);
  });
});
