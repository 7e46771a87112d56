import { statSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, expect, it } from 'vitest';
import { ack, aDelivery, anEvent, settledAs } from '../support/builders.js';
import { append, claim } from '../store/contract/harness.js';
import { openTestJournal, type JournalUnderTest } from '../store/journal/under-test.js';

let under: JournalUnderTest;
afterEach(() => under.close());

const text = `{"pad":"${'x'.repeat(390)}"}`;
/** Concurrent requests of one event each, which share a sync. */
const groupSize = 64;

const fileBytes = (): number => statSync(join(under.directory, 'journal.mdb')).size;
const toMb = (bytes: number): string => (bytes / 1e6).toFixed(1).padStart(7);

async function appendMany(count: number): Promise<void> {
  for (let left = count; left > 0; left -= groupSize) {
    const group = Array.from({ length: Math.min(groupSize, left) }, () =>
      append(under.store, [anEvent({ text })]),
    );
    await Promise.all(group);
  }
}

/** Delivers until this many envelopes are left. */
async function drainTo(count: number): Promise<void> {
  while (under.store.depth('events').count > count) {
    const items = await claim(under.store);
    await under.store.settle({
      lane: 'events',
      delivery: aDelivery(),
      settled: settledAs(items, ack),
    });
  }
}

it('the journal file grows only with the backlog, and delivered events leave no trace', async () => {
  under = await openTestJournal({
    capacity: { maxCount: 1e9, maxBytes: 1e12 },
    dedupe: { maxAgeMs: 86_400_000, maxCount: 100_000 },
    log: { maxCount: 1000, maxAgeMs: 86_400_000 },
  });
  const report: string[] = ['  passed  unsettled  payload MB  file MB'];
  let passed = 0;
  const note = (): number => {
    const { count, bytes } = under.store.depth('events');
    report.push(
      `${String(passed).padStart(8)}${String(count).padStart(11)}${toMb(bytes).padStart(12)}${toMb(fileBytes()).padStart(9)}`,
    );
    return fileBytes();
  };
  const steady: number[] = [];
  for (let round = 0; round < 10; round++) {
    for (let turn = 0; turn < 5; turn++) {
      await appendMany(2000);
      await drainTo(500);
    }
    passed += 10_000;
    steady.push(note());
  }
  const peaks: number[] = [];
  for (let round = 0; round < 6; round++) {
    await appendMany(100_000);
    passed += 100_000;
    peaks.push(note());
    await drainTo(0);
    note();
  }
  process.stdout.write(`${report.join('\n')}\n`);
  // The history of the dedupe window still grows here, within its own bounds, and space is preallocated.
  expect(steady[9]).toBeLessThan(15_000_000);
  // Freed pages are fragmented, so the file grows a little more and then stops growing.
  expect(peaks[5]).toBeLessThanOrEqual(peaks[4]! * 1.02);
  expect(peaks[5]).toBeLessThanOrEqual(peaks[0]! * 1.5);
});
