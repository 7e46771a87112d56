import fc from 'fast-check';
import { expect, it } from 'vitest';
import { lanes } from '../../src/model/lane.js';
import type { Outcome } from '../../src/model/outcome.js';
import {
  aProfile,
  blocked,
  delivered,
  pending,
  rejected,
  retryable,
  someEvents,
  throttled,
  toText,
  unattributed,
} from '../support/builders.js';
import { buffered, type JobScript, type Request, type Script, startEngine } from './fixture.js';

/** What happens to a request, apart from bad records. */
type KlaviyoState = 'fine' | 'down' | 'throttled' | 'blocked' | 'too large';

const weathers = fc.array(
  fc.constantFrom<KlaviyoState>(
    'fine',
    'fine',
    'fine',
    'down',
    'throttled',
    'blocked',
    'too large',
  ),
  { maxLength: 40, size: 'max' },
);

const lives = fc.record({
  weathers,
  /** True if Klaviyo names a bad record. */
  points: fc.boolean(),
  events: fc.integer({ min: 1, max: 250 }),
  badEvents: fc.uniqueArray(fc.nat(249), { maxLength: 5 }),
  /** The persons of the profiles. Profiles of one person are merged. */
  persons: fc.array(fc.nat(30), { maxLength: 60 }),
  badProfiles: fc.uniqueArray(fc.nat(59), { maxLength: 4 }),
  /** True if profiles are judged by import jobs. */
  hasJobs: fc.boolean(),
  stopsAtMs: fc.option(fc.integer({ min: 100, max: 20_000 })),
});

type Life = typeof lives extends fc.Arbitrary<infer T> ? T : never;

const isBad = (text: string): boolean => text.includes('bad');

function toScript({ weathers: given, points, hasJobs }: Life): Script {
  return (text, request, number) => {
    switch (given[number - 1] ?? 'fine') {
      case 'down':
        return retryable();
      case 'throttled':
        return throttled(1500);
      case 'blocked':
        return blocked;
      case 'too large':
        if (request.texts.length > 1) return unattributed('size');
        return toFineOutcome(text, request, { points, hasJobs, number });
      case 'fine':
        return toFineOutcome(text, request, { points, hasJobs, number });
    }
  };
}

function toFineOutcome(
  text: string,
  { lane, texts }: Request,
  { points, hasJobs, number }: { points: boolean; hasJobs: boolean; number: number },
): Outcome {
  if (lane === 'profiles' && hasJobs) return pending(`job-${number}`);
  if (!texts.some(isBad)) return delivered;
  if (points) return isBad(text) ? rejected : unattributed('pointer');
  return texts.length === 1 ? rejected : unattributed('bisect');
}

const jobs: JobScript = ({ texts }, number) =>
  number % 3 === 0 ? texts.map((text) => (isBad(text) ? rejected : delivered)) : null;

async function live(life: Life): Promise<void> {
  const under = await startEngine(toScript(life), { jobs, latencyMs: 30 });
  const { store, append, advance } = under;
  const toName = (kind: string, index: number, bad: readonly number[]): string =>
    `${kind}${index}${bad.includes(index) ? '-bad' : ''};`;
  const events = someEvents(life.events).map((draft, index) => ({
    ...draft,
    payload: Buffer.from(toName('event', index, life.badEvents)),
  }));
  const profiles = life.persons.map((person, index) =>
    aProfile({ keys: [`e${person}`], text: toName('profile', index, life.badProfiles) }),
  );
  await append(events.slice(0, 50));
  await append(profiles);
  await advance(300);
  await append(events.slice(50));
  if (life.stopsAtMs === null) {
    while (buffered(store) > 0) await advance(5000);
  } else {
    await advance(life.stopsAtMs);
  }
  await under.stop();
  const deadLetters = (await store.deadLetters({}, { limit: 1000 })).data.map(toText);
  expect(deadLetters.filter((text) => !isBad(text))).toEqual([]);
  if (life.stopsAtMs === null) {
    const bad = [...events, ...profiles].map(toText).filter(isBad);
    expect([...deadLetters].sort()).toEqual(bad.sort());
    for (const lane of lanes) expect(store.depth(lane).count).toBe(0);
  }
  await store.close();
  expect(under.clock.pending()).toBe(0);
  expect(under.fatalErrors).toEqual([]);
}

it('every accepted envelope is settled or buffered at every step, and only bad ones become dead letters, whatever Klaviyo does', async () => {
  await fc.assert(fc.asyncProperty(lives, live), { numRuns: 150 });
}, 60_000);
