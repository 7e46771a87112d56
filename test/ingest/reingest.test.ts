import { describe, expect, it } from 'vitest';
import type { DeadLetter, DeadLetterFilter } from '../../src/model/dead-letter.js';
import type { AcceptedFromSource } from '../../src/ingest/accept-from-source.js';
import { createReingest } from '../../src/ingest/reingest.js';
import type { SourcePost } from '../../src/ingest/source-entry.js';
import { acceptedOne } from '../support/accepted-from-source.js';

const entry = { event_name: 'Refunded Order', insert_id: 'r1', value: 5 };
const unsent = JSON.stringify({ source: 'shopify', personKeys: ['order-1'], entry });

const aLetter = (id: string, payload = unsent): DeadLetter => ({
  id,
  lane: 'events',
  acceptedAt: 0,
  deadLetteredAt: 0,
  attempts: 0,
  reason: { code: 'unknown_person', detail: '' },
  deliveryId: null,
  payload: Buffer.from(payload),
});

/** Letters, newest first, a few a page. */
function createFixture(
  letters: DeadLetter[],
  answer: (post: SourcePost) => AcceptedFromSource = () => acceptedOne,
) {
  const asked: DeadLetterFilter[] = [];
  const posts: SourcePost[] = [];
  const mend = createReingest({
    deadLetters: {
      deadLetters: (filter, { cursor = '0' }) => {
        asked.push(filter);
        const from = Number(cursor);
        const next = from + 2 < letters.length ? String(from + 2) : null;
        return Promise.resolve({ data: letters.slice(from, from + 2), next });
      },
      deadLetter: (id) => Promise.resolve(letters.find((one) => one.id === id) ?? null),
      discard: ({ ids = [] }) => {
        const at = letters.findIndex(({ id }) => ids.includes(id));
        letters.splice(at, 1);
        return Promise.resolve(1);
      },
    },
    accept: (post, options) => {
      expect(options).toEqual({ strict: true, isAgain: true });
      posts.push(post);
      return Promise.resolve(answer(post));
    },
  });
  return { mend, asked, posts, letters };
}

const now = { dryRun: false };

describe('mending dead letters of the door', () => {
  it('posts each again, oldest first, and discards it', async () => {
    const { mend, posts, letters, asked } = createFixture(
      ['e3', 'e2', 'e1'].map((id) => aLetter(id, unsent.replace('r1', id))),
    );
    expect(await mend({ lane: 'events' }, now)).toEqual({
      matched: 3,
      mended: 3,
      backpressure: null,
    });
    expect(posts.map(({ entries }) => entries[0]?.entry.insert_id)).toEqual(['e1', 'e2', 'e3']);
    expect(posts[0]).toEqual({
      source: 'shopify',
      firstAcceptedAt: 0,
      entries: [
        { lane: 'events', index: 0, personKeys: ['order-1'], entry: { ...entry, insert_id: 'e1' } },
      ],
      people: [],
      skipped: [],
    });
    expect(letters).toEqual([]);
    expect(asked[0]).toEqual({ lane: 'events', unsent: true });
  });

  it('leaves what still cannot be sent where it is', async () => {
    const { mend, letters } = createFixture([aLetter('e2'), aLetter('e1')], () => ({
      kind: 'invalid',
      rejected: [],
    }));
    expect(await mend({}, now)).toEqual({ matched: 2, mended: 0, backpressure: null });
    expect(letters).toHaveLength(2);
  });

  it('stops where the store takes no more', async () => {
    const backpressure = { kind: 'backpressure', reason: 'full', retryAfterMs: 1000 } as const;
    let left = 1;
    const { mend, letters } = createFixture([aLetter('e2'), aLetter('e1')], () =>
      left-- > 0 ? acceptedOne : backpressure,
    );
    expect(await mend({}, now)).toEqual({ matched: 2, mended: 1, backpressure });
    expect(letters.map(({ id }) => id)).toEqual(['e2']);
  });

  it('changes nothing in a dry run', async () => {
    const { mend, posts, letters } = createFixture([aLetter('e1')]);
    expect(await mend({}, { dryRun: true })).toEqual({ matched: 1, mended: 0, backpressure: null });
    expect([posts.length, letters.length]).toEqual([0, 1]);
  });

  it.each(['', '[]', '{"source":7,"personKeys":[],"entry":{}}', '{"type":"event"}'])(
    'leaves alone what no source posted: %s',
    async (payload) => {
      const { mend, posts, letters } = createFixture([aLetter('e1', payload)]);
      expect(await mend({}, now)).toMatchObject({ matched: 1, mended: 0 });
      expect([posts.length, letters.length]).toEqual([0, 1]);
    },
  );
});
