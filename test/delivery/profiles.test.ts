import { describe, expect, it } from 'vitest';
import type { MemoryStore } from '../../src/store/memory.js';
import {
  aDelivery,
  aProfile,
  bounds,
  delivered,
  pending,
  rejected,
  retryable,
  someProfiles,
  toText,
} from '../support/builders.js';
import { buffered, type JobScript, useEngines } from './fixture.js';

const start = useEngines();

const ofOnePerson = (...texts: string[]) => texts.map((text) => aProfile({ keys: ['ea'], text }));

describe('profiles of one person in the engine', () => {
  it('are merged, oldest first, and count as one delivered and the others merged', async () => {
    const { metrics, requests, append, advance } = await start(() => delivered);
    await append([...ofOnePerson('a1', 'a2', 'a3'), aProfile({ text: 'b1' })]);
    await advance(1000);
    expect(requests.map(({ texts }) => texts)).toEqual([['a1+a2+a3', 'b1']]);
    const { values } = await metrics.settled.get();
    const count = (outcome: string) =>
      values.find(({ labels }) => labels.lane === 'profiles' && labels.outcome === outcome)?.value;
    expect([count('delivered'), count('merged')]).toEqual([2, 2]);
  });

  it('are sent one by one after their merged profile was rejected, and only the bad one becomes a dead letter', async () => {
    const { store, requests, append, advance } = await start((text) =>
      text.includes('bad') ? rejected : delivered,
    );
    await append(ofOnePerson('a1', 'bad', 'a3'));
    await advance(2000);
    expect(requests.map(({ texts }) => texts)).toEqual([['a1+bad+a3'], ['a1'], ['bad'], ['a3']]);
    const deadLetters = (await store.deadLetters({}, { limit: 10 })).data;
    expect(deadLetters.map(toText)).toEqual(['bad']);
    expect(buffered(store)).toBe(0);
  });

  it('are never sent while another request for that person is in flight', async () => {
    let isDown = true;
    const { requests, append, advance } = await start(() => (isDown ? retryable() : delivered), {
      latencyMs: 400,
    });
    await append(ofOnePerson('a1'));
    await advance(300);
    await append(ofOnePerson('a2'));
    await advance(200);
    isDown = false;
    await advance(5000);
    expect(requests.map(({ texts }) => texts)).toEqual([['a1'], ['a1+a2']]);
  });
});

describe('an import job in the engine', () => {
  const endsAtLook =
    (number: number, toOutcome: (text: string) => ReturnType<typeof pending>): JobScript =>
    ({ texts }, poll) =>
      poll < number ? null : texts.map(toOutcome);

  it('is polled ever more rarely until it ends, and only then its profiles are settled', async () => {
    const jobs = endsAtLook(6, () => delivered);
    const { engine, klaviyo, store, append, advance } = await start(() => pending('job-1'), {
      jobs,
    });
    await append(someProfiles(3));
    await advance(1000);
    expect(buffered(store)).toBe(3);
    expect(engine.importing()).toBe(3);
    await advance(60_000);
    expect(klaviyo.polls).toHaveLength(6);
    const gaps = klaviyo.polls.slice(1).map(({ at }, index) => at - klaviyo.polls[index]!.at);
    for (const [index, gap] of gaps.entries()) expect(gap).toBeGreaterThan(gaps[index - 1] ?? 500);
    expect(buffered(store)).toBe(0);
    expect(engine.importing()).toBe(0);
    const [delivery] = (await store.deliveries({}, { limit: 1 })).data;
    expect(delivery).toMatchObject({
      result: 'delivered',
      delivered: 3,
      importJob: { id: 'job-1', status: 'complete' },
    });
  });

  it('makes a dead letter of each profile that failed in it', async () => {
    const jobs = endsAtLook(1, (text) => (text === 'n1' ? rejected : delivered));
    const { store, append, advance } = await start(() => pending('job-1'), { jobs });
    await append(someProfiles(3));
    await advance(2000);
    const deadLetters = (await store.deadLetters({}, { limit: 10 })).data;
    expect(deadLetters.map(toText)).toEqual(['n1']);
    expect(buffered(store)).toBe(0);
    const [delivery] = (await store.deliveries({}, { limit: 1 })).data;
    expect(delivery).toMatchObject({ result: 'partial', delivered: 2, deadLettered: 1 });
  });

  it('sends a profile again in another job if it was not processed', async () => {
    const jobs: JobScript = ({ ref, texts }) =>
      texts.map((text) => (ref === 'job-1' && text === 'n1' ? retryable() : delivered));
    const { requests, store, append, advance } = await start(
      (_text, _request, number) => pending(`job-${number}`),
      { jobs },
    );
    await append(someProfiles(3));
    await advance(10_000);
    expect(requests.map(({ texts }) => texts)).toEqual([['n0', 'n1', 'n2'], ['n1']]);
    expect(buffered(store)).toBe(0);
  });

  it('is polled with the profiles as they were sent', async () => {
    const jobs = endsAtLook(1, () => delivered);
    const { klaviyo, append, advance } = await start(() => pending('job-1'), { jobs });
    await append(ofOnePerson('a1', 'a2'));
    await advance(2000);
    expect(klaviyo.polls).toEqual([expect.objectContaining({ ref: 'job-1', texts: ['a1+a2'] })]);
  });

  it('delays profiles of the same person until it ends', async () => {
    const jobs: JobScript = ({ texts }, poll) => (poll < 5 ? null : texts.map(() => delivered));
    const { klaviyo, requests, append, advance } = await start(
      (_text, _request, number) => pending(`job-${number}`),
      { jobs },
    );
    await append(ofOnePerson('a1'));
    await advance(500);
    await append(ofOnePerson('a2'));
    await advance(30_000);
    expect(requests.map(({ texts }) => texts)).toEqual([['a1'], ['a2']]);
    expect(requests[1]!.at).toBeGreaterThanOrEqual(klaviyo.polls[4]!.at);
  });

  it('causes no listener warning when many jobs run at once', async () => {
    const warnings: string[] = [];
    const onWarning = (warning: Error): void => void warnings.push(warning.name);
    process.on('warning', onWarning);
    const { engine, append, advance } = await start((text) => pending(text), { jobs: () => null });
    for (let number = 0; number < 20; number++) {
      await append(someProfiles(1, `job-${number}-`));
      await advance(200);
    }
    expect(engine.importing()).toBe(20);
    process.off('warning', onWarning);
    expect(warnings).toEqual([]);
  });

  it('stays in the store if it still runs when the relay stops, and no poll is in flight', async () => {
    const { engine, klaviyo, store, stop, clock, append, advance } = await start(
      () => pending('job-1'),
      { jobs: () => null },
    );
    await append(someProfiles(2));
    await advance(3000);
    await stop();
    const polls = klaviyo.polls.length;
    await clock.advance(100_000);
    expect(klaviyo.polls).toHaveLength(polls);
    expect(store.depth('profiles').count).toBe(2);
    expect(engine.importing()).toBe(0);
  });

  it('is polled from the start if an earlier process left it', async () => {
    const delivery = aDelivery({ id: 'dl_old', lane: 'profiles', result: 'pending', delivered: 0 });
    const prepare = async (store: MemoryStore): Promise<void> => {
      await store.append(someProfiles(2));
      const items = await store.claim('profiles', bounds());
      const unfinished = { lane: 'profiles' as const, ref: 'job-old', delivery, items };
      Object.assign(store, { unfinishedImportJobs: () => Promise.resolve([unfinished]) });
    };
    const jobs = endsAtLook(1, () => delivered);
    const { klaviyo, store, requests, advance } = await start(() => delivered, { jobs, prepare });
    await advance(2000);
    expect(klaviyo.polls).toEqual([
      expect.objectContaining({ ref: 'job-old', texts: ['n0', 'n1'] }),
    ]);
    expect(requests).toEqual([]);
    expect(buffered(store)).toBe(0);
    expect(await store.delivery('dl_old')).toMatchObject({ result: 'delivered', delivered: 2 });
  });
});
