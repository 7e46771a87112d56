import { expect, it } from 'vitest';
import { anEvent } from '../../support/builders.js';
import { openTestJournal } from './under-test.js';

it('the journal rejects appends at once after a failed write', async () => {
  const under = await openTestJournal({
    // Every commit is overdue as soon as it begins.
    syncLimit: {
      ms: 5,
      clock: {
        now: () => 0,
        monotonic: () => 0,
        setTimer: (_ms, fire) => {
          queueMicrotask(fire);
          return { cancel: () => undefined };
        },
      },
    },
  });
  expect(under.store.backpressure()).toBeNull();
  const unavailable = { reason: 'unavailable', retryAfterMs: 1000 };
  expect(await under.store.append([anEvent()])).toEqual({ ok: false, backpressure: unavailable });
  expect(String(under.faults)).toContain('a write has not ended after 5 ms');
  expect(under.store.backpressure()).toEqual(unavailable);
  expect(await under.store.append([anEvent()])).toEqual({ ok: false, backpressure: unavailable });
  expect(await under.store.putFacts([{ kind: 'order', key: 'a', value: '1' }])).toEqual({
    ok: false,
    backpressure: unavailable,
  });
  await under.close();
});
