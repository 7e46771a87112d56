import { expect, it } from 'vitest';
import { createDraftMany } from '../../src/ingest/draft-many.js';
import { createManualClock } from '../support/manual-clock.js';
import { createToE164 } from '../../src/ingest/phone.js';
import { anEvent, receivedAt } from './fixture.js';
import { newestRules } from '../support/revisions.js';

const toE164 = createToE164(undefined);
const toPosted = (entries: readonly unknown[]) => ({
  lane: 'events' as const,
  body: Buffer.from(JSON.stringify(entries)),
  format: 'json' as const,
  acceptedAt: receivedAt,
  rules: newestRules,
  backfillBefore: -Infinity,
});
const manyEvents = (count: number) =>
  Array.from({ length: count }, (_, number) => anEvent({ insert_id: `i-${number}` }));

it('requests are drafted one after the other, however long the first one takes', async () => {
  const draftMany = createDraftMany({ clock: createManualClock(), newId: () => 'new', toE164 });
  const done: string[] = [];
  await Promise.all([
    draftMany(toPosted(manyEvents(1000))).then(() => done.push('large')),
    draftMany(toPosted(manyEvents(1))).then(() => done.push('small')),
  ]);
  expect(done).toEqual(['large', 'small']);
});

it('a request that fails by our own fault holds up none after it', async () => {
  const failing = () => {
    throw new Error('no ids left');
  };
  const draftMany = createDraftMany({ clock: createManualClock(), newId: failing, toE164 });
  // JSON has no undefined: an event without an id, which is given one.
  const first = draftMany(toPosted([anEvent({ insert_id: undefined })]));
  const second = draftMany(toPosted(manyEvents(2)));
  await expect(first).rejects.toThrow('no ids left');
  expect(await second).toMatchObject({ ok: true, count: 2 });
});

it('a list of any length is read in parts, each entry with its own index', async () => {
  const draftMany = createDraftMany({ clock: createManualClock(), newId: () => 'new', toE164 });
  const entries = manyEvents(2000).map((each, index) => (index % 700 === 699 ? {} : each));
  const drafted = await draftMany(toPosted(entries));
  if (!drafted.ok) throw new Error('nothing was drafted');
  expect(drafted.built.rejected.map(({ index }) => index)).toEqual([699, 1399]);
  expect(drafted.built.drafts).toHaveLength(1998);
});
