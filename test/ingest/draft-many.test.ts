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

it('draftMany drafts requests one after the other, also if the first one is large', async () => {
  const draftMany = createDraftMany({ clock: createManualClock(), newId: () => 'new', toE164 });
  const done: string[] = [];
  await Promise.all([
    draftMany(toPosted(manyEvents(1000))).then(() => done.push('large')),
    draftMany(toPosted(manyEvents(1))).then(() => done.push('small')),
  ]);
  expect(done).toEqual(['large', 'small']);
});

it('draftMany continues with the next request after an internal error in one', async () => {
  const failing = () => {
    throw new Error('no ids left');
  };
  const draftMany = createDraftMany({ clock: createManualClock(), newId: failing, toE164 });
  // JSON omits undefined, so this event has no id and calls `newId`.
  const first = draftMany(toPosted([anEvent({ insert_id: undefined })]));
  const second = draftMany(toPosted(manyEvents(2)));
  await expect(first).rejects.toThrow('no ids left');
  expect(await second).toMatchObject({ ok: true, count: 2 });
});

it('draftMany reads a long list in parts and keeps the index of each entry', async () => {
  const draftMany = createDraftMany({ clock: createManualClock(), newId: () => 'new', toE164 });
  const entries = manyEvents(2000).map((each, index) => (index % 700 === 699 ? {} : each));
  const drafted = await draftMany(toPosted(entries));
  if (!drafted.ok) throw new Error('nothing was drafted');
  expect(drafted.built.rejected.map(({ index }) => index)).toEqual([699, 1399]);
  expect(drafted.built.drafts).toHaveLength(1998);
});
