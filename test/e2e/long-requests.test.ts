import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { append, buryAll } from '../store/contract/harness.js';
import { openTestJournal } from '../store/journal/under-test.js';
import { someEvents } from '../support/builders.js';
import { startRelayProcess, type RelayProcess } from '../support/relay-process.js';

/** Nothing listens there: what is redriven stays in the buffer. */
const klaviyoUrl = 'http://127.0.0.1:1';
const letterCount = 38_000;
const dataDir = mkdtempSync(join(tmpdir(), 'relay-long-'));
let relay: RelayProcess;
let url: string;

beforeAll(async () => {
  const maxDeadLetters = 2 * letterCount;
  const journal = await openTestJournal({ directory: dataDir, maxDeadLetters });
  for (let made = 0; made < letterCount; made += 1000) {
    await append(journal.store, someEvents(1000, `n${made}-`));
    await buryAll(journal.store);
  }
  await journal.store.close();
  relay = startRelayProcess({
    klaviyoUrl,
    dataDir,
    env: { DEAD_LETTER_MAX_COUNT: String(maxDeadLetters) },
  });
  url = (await relay.listening) ?? '';
}, 120_000);
afterAll(async () => {
  await relay.end('SIGKILL');
  rmSync(dataDir, { recursive: true, force: true });
});

type Measured = {
  readonly status: number;
  readonly text: string;
  readonly longestMs: number;
  readonly looks: number;
};

/** Asks for /livez, again and again, while the relay works on a request; how long it waited at most. */
async function measure(path: string, body: string, contentType: string): Promise<Measured> {
  const headers = { 'content-type': contentType };
  const state = { isDone: false };
  const answered = fetch(url + path, { method: 'POST', headers, body }).then(async (answer) => {
    const text = await answer.text();
    state.isDone = true;
    return { status: answer.status, text };
  });
  let longestMs = 0;
  let looks = 0;
  while (!state.isDone) {
    const from = performance.now();
    await (await fetch(`${url}/livez`)).text();
    longestMs = Math.max(longestMs, performance.now() - from);
    looks++;
  }
  return { ...(await answered), longestMs, looks };
}

const names = Array.from({ length: 300_000 }, (_, index) => `"k${index}":1`).join(',');
const event = `{"event_name":"e","distinct_id":"d","properties":{${names}}}`;
const lines = '\n'.repeat(4_900_000);

/** A machine that is busy may hold up any of them; what is done in one go holds up all of them. */
const tries = 5;

describe('others are answered while one request is long', () => {
  // In one go the relay took two to four times as long as the plain reading, and a quarter of it in slices.
  it.each([
    ['300,000 names in one event', '/v1/events', event, 'application/json', JSON.parse],
    [
      '4.9 million empty lines',
      '/v1/events/batch',
      lines,
      'application/x-ndjson',
      (text: string) => text.split('\n'),
    ],
  ])(
    '%s: none waits for as long as it takes to read the body in one go',
    async (_name, path, body, contentType, read) => {
      const shares: number[] = [];
      while (shares.length < tries && shares.every((share) => share >= 1)) {
        const from = performance.now();
        read(body);
        const readMs = performance.now() - from;
        const { status, longestMs } = await measure(path, body, contentType);
        expect(status).toBe(400);
        shares.push(longestMs / readMs);
      }
      expect(Math.min(...shares)).toBeLessThan(1);
    },
    60_000,
  );

  it('a redrive of 38,000 dead letters', async () => {
    const path = '/v1/dead-letters/redrive';
    const { text, looks } = await measure(path, '{"filter":{}}', 'application/json');
    expect(JSON.parse(text)).toEqual({
      matched: letterCount,
      redriven: letterCount,
      dry_run: false,
    });
    // In one go it let none of them through.
    expect(looks).toBeGreaterThan(3);
  }, 60_000);
});
