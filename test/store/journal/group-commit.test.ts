import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { GroupCommit, type Staged } from '../../../src/store/journal/group-commit.js';
import { DiskReservationError } from '../../../src/store/journal/disk-reservation.js';
import { createManualClock, settlePromises, type ManualClock } from '../../support/manual-clock.js';

/** What a group wrote: the texts of its appends, and the name of its change or those of its settlements. */
type Group = { readonly appends: readonly string[]; readonly change: string | null };

type Draft = { change: string | null; appends: readonly string[] };

const nothing = { bytes: 0, run: () => undefined };
/** Settlements that can be in one group. */
const mostTogether = 3;

/** Bytes of some appends; a group holds 16 MiB at most. */
const sizes: Readonly<Record<string, number>> = { huge: 20_000_000, half: 8 * 1024 * 1024 };

let clock: ManualClock;
let limitClock: ManualClock;
let groups: Group[];
let faults: unknown[];
let noRoom: number;
let rolledBack: string[];
/** Seconds that each group took. */
let syncSeconds: number[];
/** How the next checks of the files end, in order; what is not said here finds nothing. */
let lost: (Error | null)[];
/** How the next commits end, in order; what is not said here succeeds at once. */
let endings: (() => Promise<void>)[];
let commits: GroupCommit<string, string, string, Draft>;

beforeEach(() => {
  clock = createManualClock();
  limitClock = createManualClock();
  groups = [];
  faults = [];
  noRoom = 0;
  rolledBack = [];
  syncSeconds = [];
  lost = [];
  endings = [];
  commits = new GroupCommit({
    clock,
    copyState: (): Draft => ({ change: null, appends: [] }),
    stageAppends: (appends, draft) => {
      draft.appends = appends;
      return Promise.resolve({
        writes: appends.map(() => nothing),
        committed: () => appends.map((text) => `${text}!`),
        rolledBack: () => rolledBack.push(...appends),
      });
    },
    sizeOf: (text) => sizes[text] ?? text.length,
    stageSettlements: (names, draft) => {
      const together = names.slice(0, mostTogether);
      draft.change = together.join('+');
      return { writes: together.map(() => nothing), committed: () => together.length };
    },
    verify: () => {
      const error = lost.shift();
      if (error != null) throw error;
    },
    limit: { clock: limitClock, ms: 5000 },
    commit: async ({ nextState: draft }) => {
      await endings.shift()?.();
      groups.push({ ...draft });
    },
    onCommitted: (_nextState, seconds) => void syncSeconds.push(seconds),
    onFatal: (error) => void faults.push(error),
    onDiskFull: () => noRoom++,
  });
});
afterEach(async () => {
  await commits.close();
  expect(clock.pending() + limitClock.pending()).toBe(0);
});

const change = (name: string): Promise<string> =>
  commits.change((draft): Staged<string> => {
    draft.change = name;
    return { writes: [nothing], committed: () => name };
  });

const settle = (name: string): Promise<string> => commits.settle(name).then(() => name);

const full = (): Promise<never> => Promise.reject(new DiskReservationError(null));
const failed = (): Promise<never> => Promise.reject(new Error('EIO'));

/** A commit that ends when it is told to. */
function gate(): { open: () => void } {
  let open = (): void => undefined;
  const opened = new Promise<void>((resolve) => (open = resolve));
  endings.push(() => opened);
  return { open: () => open() };
}

describe('a group', () => {
  it('has the changes of one turn, and those that arrived during a sync', async () => {
    const first = gate();
    const answers = ['a', 'b'].map((text) => commits.append(text));
    await settlePromises();
    answers.push(commits.append('c'), commits.append('d'));
    await settlePromises();
    expect(groups).toEqual([]);
    first.open();
    expect(await Promise.all(answers)).toEqual(['a!', 'b!', 'c!', 'd!']);
    expect(groups).toEqual([
      { appends: ['a', 'b'], change: null },
      { appends: ['c', 'd'], change: null },
    ]);
  });

  it('has at most one change, in the order of arrival', async () => {
    await Promise.all([change('one'), commits.append('a'), change('two')]);
    expect(groups).toEqual([
      { appends: ['a'], change: 'one' },
      { appends: [], change: 'two' },
    ]);
  });

  it('has the next settlements, up to one that conflicts with them or another change', async () => {
    const came = ['s1', 's2', 's3', 's4'].map(settle);
    await Promise.all([...came, change('one'), settle('s5'), commits.append('a'), settle('s6')]);
    expect(groups).toEqual([
      { appends: ['a'], change: 's1+s2+s3' },
      { appends: [], change: 's4' },
      { appends: [], change: 'one' },
      { appends: [], change: 's5+s6' },
    ]);
  });

  it('is cut when it is large, and a large append has a group of its own', async () => {
    await Promise.all(['a', 'huge', 'huge', 'b'].map((text) => commits.append(text)));
    expect(groups.map(({ appends }) => appends)).toEqual([
      ['a'],
      ['huge'],
      ['huge', 'b'].slice(0, 1),
      ['b'],
    ]);
  });

  it('can have appends of exactly its maximum size', async () => {
    await Promise.all(['half', 'half', 'half'].map((text) => commits.append(text)));
    expect(groups.map(({ appends }) => appends)).toEqual([['half', 'half'], ['half']]);
  });

  it('reports the seconds from its start to the end of its sync', async () => {
    await clock.advance(5000);
    endings.push(() => clock.advance(1500));
    expect(await commits.append('a')).toBe('a!');
    expect(syncSeconds).toEqual([1.5]);
  });

  it('is not written if it changes nothing', async () => {
    const nothing = commits.change(() => ({ writes: [], committed: () => 'known' }));
    expect(await nothing).toBe('known');
    expect(groups).toEqual([]);
  });
});

describe('without free space', () => {
  it('appends are rejected and rolled back, and the next are tried', async () => {
    endings.push(full);
    expect(await commits.append('a')).toBe('disk-full');
    expect(rolledBack).toEqual(['a']);
    expect(noRoom).toBe(1);
    expect(await commits.append('b')).toBe('b!');
    expect(faults).toEqual([]);
  });

  it('a change is tried again without the appends of its group', async () => {
    endings.push(full);
    const answers = await Promise.all([commits.append('a'), change('one')]);
    expect(answers).toEqual(['disk-full', 'one']);
    expect(groups).toEqual([{ appends: [], change: 'one' }]);
  });

  it('a change is tried again every second until there is space', async () => {
    endings.push(full, full);
    const answer = change('one');
    await settlePromises();
    await clock.advance(999);
    expect(noRoom).toBe(1);
    await clock.advance(1);
    expect(noRoom).toBe(2);
    await clock.advance(1000);
    expect(await answer).toBe('one');
  });

  it('an append that fits wakes the waiting change', async () => {
    endings.push(full);
    const answer = change('one');
    await settlePromises();
    expect(await commits.append('a')).toBe('a!');
    expect(await answer).toBe('one');
    expect(groups).toEqual([
      { appends: ['a'], change: null },
      { appends: [], change: 'one' },
    ]);
  });

  it('a change that does not fit is rolled back before it is tried again', async () => {
    endings.push(full);
    const answer = commits.change((draft): Staged<string> => {
      draft.change = 'one';
      return {
        writes: [nothing],
        committed: () => 'one',
        rolledBack: () => rolledBack.push('one'),
      };
    });
    await settlePromises();
    expect(rolledBack).toEqual(['one']);
    await clock.advance(1000);
    expect(await answer).toBe('one');
    expect(rolledBack).toEqual(['one']);
  });

  it('several settlements are written one by one, and together again after an append', async () => {
    endings.push(full);
    const answers = ['s1', 's2', 's3'].map(settle);
    await settlePromises();
    await clock.advance(1000);
    expect(await Promise.all(answers)).toEqual(['s1', 's2', 's3']);
    await Promise.all([commits.append('a'), settle('s4'), settle('s5')]);
    await Promise.all([settle('s6'), settle('s7')]);
    expect(groups.map(({ change }) => change)).toEqual(['s1', 's2', 's3', 's4', 's5', 's6+s7']);
  });

  it('a waiting change is abandoned at the close', async () => {
    endings.push(full, full);
    const answers = [change('one'), settle('s1')].map((each) =>
      each.catch((error: unknown) => error),
    );
    await settlePromises();
    await commits.close();
    for (const answer of await Promise.all(answers))
      expect(answer).toBeInstanceOf(DiskReservationError);
  });
});

describe('a commit that fails', () => {
  it('rejects all waiting and all later calls, and is reported once', async () => {
    endings.push(failed);
    const change1 = change('one').catch(() => 'failed');
    const others = [change('two'), settle('s1')].map((each) => each.catch(() => 'failed'));
    const answers = [commits.append('a'), change1, ...others];
    expect(await Promise.all(answers)).toEqual(['failed', 'failed', 'failed', 'failed']);
    expect(await commits.append('b')).toBe('failed');
    expect(await change('three').catch(() => 'failed')).toBe('failed');
    expect(await settle('s2').catch(() => 'failed')).toBe('failed');
    expect(faults).toHaveLength(1);
    expect(groups).toEqual([]);
  });

  it('rejects the appends that arrived during it', async () => {
    let fail = (): void => undefined;
    endings.push(() => new Promise((_resolve, reject) => (fail = () => reject(new Error('EIO')))));
    const answers = [commits.append('a')];
    await settlePromises();
    answers.push(commits.append('b'), commits.append('c'));
    fail();
    expect(await Promise.all(answers)).toEqual(['failed', 'failed', 'failed']);
    expect(groups).toEqual([]);
  });

  it('rejects later changes with the reason', async () => {
    endings.push(failed);
    await commits.append('a');
    await expect(settle('s1')).rejects.toThrow('the journal has failed');
    expect(commits.isStuck).toBe(false);
  });

  it('includes one that does not end in time, and the journal can still be closed', async () => {
    endings.push(() => new Promise(() => undefined));
    const answer = commits.append('a');
    await settlePromises();
    await limitClock.advance(4999);
    expect(faults).toEqual([]);
    await limitClock.advance(1);
    expect(await answer).toBe('failed');
    expect(String(faults)).toContain('a write has not ended after 5000 ms');
    expect(commits.isStuck).toBe(true);
  });

  it('includes one that cannot be staged', async () => {
    const answer = commits.change((): Staged<void> => {
      throw new Error('damaged');
    });
    await expect(answer).rejects.toThrow('damaged');
    expect(faults).toHaveLength(1);
  });
});

describe('close', () => {
  it('resolves after everything that waits is written, and rejects later calls', async () => {
    const first = gate();
    const order: string[] = [];
    const waiting = [commits.append('a'), change('one')].map((each) =>
      each.then((result) => order.push(result)),
    );
    await settlePromises();
    const closed = commits.close().then(() => order.push('closed'));
    expect(await commits.append('b')).toBe('failed');
    await expect(change('two')).rejects.toThrow('the journal is closed');
    expect(commits.verify()).toBe(false);
    first.open();
    await Promise.all([...waiting, closed]);
    expect(order.at(-1)).toBe('closed');
    expect(order).toHaveLength(3);
    expect(faults).toEqual([]);
  });
});

describe('files that no longer belong to the journal', () => {
  const gone = new Error('gone');

  it('cause no failure as long as they are in place', () => {
    expect(commits.verify()).toBe(true);
    expect(faults).toEqual([]);
    lost = [gone];
    expect(commits.verify()).toBe(false);
    expect(faults).toEqual([gone]);
  });

  it('fail a group before it is staged', async () => {
    lost = [gone];
    expect(await Promise.all([commits.append('a'), commits.append('b')])).toEqual([
      'failed',
      'failed',
    ]);
    expect([groups, rolledBack, faults]).toEqual([[], [], [gone]]);
  });

  it('fail a group that was written, before it is acknowledged', async () => {
    lost = [null, gone];
    const settled = settle('s1').catch((error: unknown) => error);
    expect(await commits.append('a')).toBe('failed');
    expect(await settled).toBe(gone);
    expect([rolledBack, faults]).toEqual([['a'], [gone]]);
  });

  it('fail everything at a check between groups, and only once', async () => {
    const first = gate();
    const answer = commits.append('a');
    await settlePromises();
    lost = [gone, gone];
    expect(commits.verify()).toBe(false);
    expect(commits.verify()).toBe(false);
    first.open();
    expect(await answer).toBe('failed');
    expect(await commits.append('b')).toBe('failed');
    expect(faults).toEqual([gone]);
  });
});

it('a commit does not fail because the process was stopped during it', async () => {
  const first = gate();
  const answer = commits.append('a');
  await settlePromises();
  await limitClock.suspend(3_600_000);
  expect(faults).toEqual([]);
  first.open();
  expect(await answer).toBe('a!');
});
