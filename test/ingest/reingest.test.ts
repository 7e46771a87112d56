import { describe, expect, it } from 'vitest';
import type { DeadLetter, DeadLetterFilter } from '../../src/model/dead-letter.js';
import type { AcceptedFromSource } from '../../src/ingest/accept-from-source.js';
import { createReingest } from '../../src/ingest/reingest.js';
import type { SourcePost } from '../../src/ingest/source-entry.js';
import { acceptedOne } from '../support/accepted-from-source.js';

const entry = { event_name: 'Refunded Order', insert_id: 'r1', value: 5 };
const unsent = JSON.stringify({ source: 'shopify', personKeys: ['order-1'], entry });

const aDeadLetter = (id: string, payload = unsent): DeadLetter => ({
  id,
  lane: 'events',
  acceptedAt: 0,
  deadLetteredAt: 0,
  attempts: 0,
  reason: { code: 'unknown_person', detail: '' },
  deliveryId: null,
  payload: Buffer.from(payload),
});

/** Dead letters, newest first, two on each page. */
function createFixture(
  deadLetters: DeadLetter[],
  respond: (post: SourcePost) => AcceptedFromSource = () => acceptedOne,
) {
  const filters: DeadLetterFilter[] = [];
  const posts: SourcePost[] = [];
  const reingest = createReingest({
    deadLetters: {
      deadLetters: (filter, { cursor = '0' }) => {
        filters.push(filter);
        const from = Number(cursor);
        const next = from + 2 < deadLetters.length ? String(from + 2) : null;
        return Promise.resolve({ data: deadLetters.slice(from, from + 2), next });
      },
      deadLetter: (id) => Promise.resolve(deadLetters.find((one) => one.id === id) ?? null),
      discard: ({ ids = [] }) => {
        const at = deadLetters.findIndex(({ id }) => ids.includes(id));
        deadLetters.splice(at, 1);
        return Promise.resolve(1);
      },
    },
    accept: (post, options) => {
      expect(options).toEqual({ strict: true, isReingest: true });
      posts.push(post);
      return Promise.resolve(respond(post));
    },
  });
  return { reingest, filters, posts, deadLetters };
}

const now = { dryRun: false };

describe('reingest', () => {
  it('accepts each dead letter again, oldest first, and discards it', async () => {
    const { reingest, posts, deadLetters, filters } = createFixture(
      ['e3', 'e2', 'e1'].map((id) => aDeadLetter(id, unsent.replace('r1', id))),
    );
    expect(await reingest({ lane: 'events' }, now)).toEqual({
      matched: 3,
      reingested: 3,
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
    expect(deadLetters).toEqual([]);
    expect(filters[0]).toEqual({ lane: 'events', neverSent: true });
  });

  it('keeps a dead letter that still cannot be mapped', async () => {
    const { reingest, deadLetters } = createFixture([aDeadLetter('e2'), aDeadLetter('e1')], () => ({
      kind: 'invalid',
      rejected: [],
    }));
    expect(await reingest({}, now)).toEqual({ matched: 2, reingested: 0, backpressure: null });
    expect(deadLetters).toHaveLength(2);
  });

  it('stops when the store reports backpressure', async () => {
    const backpressure = { kind: 'backpressure', reason: 'full', retryAfterMs: 1000 } as const;
    let left = 1;
    const { reingest, deadLetters } = createFixture([aDeadLetter('e2'), aDeadLetter('e1')], () =>
      left-- > 0 ? acceptedOne : backpressure,
    );
    expect(await reingest({}, now)).toEqual({ matched: 2, reingested: 1, backpressure });
    expect(deadLetters.map(({ id }) => id)).toEqual(['e2']);
  });

  it('changes nothing in a dry run', async () => {
    const { reingest, posts, deadLetters } = createFixture([aDeadLetter('e1')]);
    expect(await reingest({}, { dryRun: true })).toEqual({
      matched: 1,
      reingested: 0,
      backpressure: null,
    });
    expect([posts.length, deadLetters.length]).toEqual([0, 1]);
  });

  it.each(['', '[]', '{"source":7,"personKeys":[],"entry":{}}', '{"type":"event"}'])(
    'keeps a dead letter whose payload is no unmappable entry: %s',
    async (payload) => {
      const { reingest, posts, deadLetters } = createFixture([aDeadLetter('e1', payload)]);
      expect(await reingest({}, now)).toMatchObject({ matched: 1, reingested: 0 });
      expect([posts.length, deadLetters.length]).toEqual([0, 1]);
    },
  );
});
