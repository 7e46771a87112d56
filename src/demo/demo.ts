/**
 * The demo: a relay and the sandbox in one process, a day of a small shop as traffic, and some
 * scripted faults at Klaviyo.
 */

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { z } from 'zod';
import { startApp, type App } from '../app/app.js';
import { wait, type Clock } from '../clock.js';
import { loadConfig } from '../config/config.js';
import { lanes, mapLanes, type Lane } from '../model/lane.js';
import { startSandbox, type FaultRule, type RunningSandbox } from '../sandbox/sandbox.js';
import type { Logger } from '../log/logger.js';
import { Releasers } from '../app/releasers.js';
import { createShopTraffic, suppressed, unsupportedRegion, type Post } from './shop.js';
import type { LaneCounts, Summary } from './summary.js';
import { addTallies, sendTraffic, type Tally } from './traffic.js';

export type DemoOptions = {
  readonly clock: Clock;
  readonly log: Logger;
  readonly version: string;
  readonly random: () => number;
  readonly newId: () => string;
  readonly droppedLogLines: () => number;
  readonly shoppers: number;
  /** Called with the steps as they happen. */
  readonly onStep: (text: string) => void;
  readonly onProgress: (done: number, total: number) => void;
  /** Called when the relay cannot continue. */
  readonly onFatal: (error: unknown) => void;
  /** Aborts when the start is cancelled. */
  readonly signal: AbortSignal;
};

export type RunningDemo = {
  readonly relay: App;
  readonly sandbox: RunningSandbox;
  /** Posts the day of the shop and resolves when everything is delivered. */
  run(): Promise<Summary>;
  stop(): Promise<void>;
};

const apiKey = 'pk_demo_0123456789';
const seed = 2026;
const concurrency = 16;
const batchSize = 250;
const pollMs = 50;
const drainLimitMs = 60_000;

/** The faults of Klaviyo during the demo. */
const faults: readonly FaultRule[] = [
  { endpoint: 'bulk-events', skip: 1, times: 2, status: 429, retryAfter: 1 },
  { endpoint: 'bulk-events', skip: 3, times: 1, status: 503 },
  {
    endpoint: 'bulk-events',
    poison: {
      when: { path: '/properties/Warehouse', equals: unsupportedRegion },
      pointer: 'exact',
      at: 'request',
      detail: 'Phone number is valid but is not in a supported region for this account.',
    },
  },
  {
    endpoint: 'bulk-profiles',
    poison: {
      when: { path: '/title', equals: suppressed },
      pointer: 'exact',
      at: 'job',
      detail: 'The profile is suppressed and cannot be imported.',
    },
  },
];

/**
 * A relay and the sandbox in this process, connected over HTTP. A failed start stops what it
 * started.
 */
export async function startDemo(options: DemoOptions): Promise<RunningDemo> {
  const { clock, onStep } = options;
  const from = clock.monotonic();
  const started = new Releasers();
  const stop = (): Promise<void> => started.release(new AbortController().signal);
  try {
    const sandbox = await startSandbox({ clock, faults: [...faults] });
    started.add(() => sandbox.close());
    const directory = await mkdtemp(join(tmpdir(), 'klaviyo-relay-demo-'));
    started.add(() => rm(directory, { recursive: true, force: true }));
    const relay = await startApp({ ...options, config: createDemoConfig(sandbox.url, directory) });
    started.add(() => relay.stop());
    onStep(`sandbox (in place of Klaviyo): ${sandbox.url}   relay: ${relay.url}`);
    return { relay, sandbox, run: () => runDay(options, { relay, sandbox, from }), stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

type Started = Pick<RunningDemo, 'relay' | 'sandbox'> & { readonly from: number };

async function runDay(
  { clock, shoppers, onStep, onProgress }: DemoOptions,
  { relay, sandbox, from }: Started,
): Promise<Summary> {
  const day = createShopTraffic({ shoppers, seed, now: clock.now() });
  const { posts, unsubscriptions } = day;
  const posted = posts.length + unsubscriptions.length;
  onStep(
    `a day of a shop: ${posted} events, profiles, subscriptions and unsubscriptions; deliberate errors: ${listCounts(day.planted)}`,
  );
  const send = (part: readonly Post[], before: number): Promise<Tally> =>
    sendTraffic({
      url: relay.url,
      posts: part,
      concurrency,
      batchSize,
      onProgress: (sent) => onProgress(before + sent, posted),
    });
  const tally = addTallies(await send(posts, 0), await send(unsubscriptions, posts.length));
  onStep('everything is posted; waiting for the deliveries');
  await waitUntilDrained(relay, clock);
  await waitUntilConsentsRecorded({ relay, sandbox, clock });
  const seconds = (clock.monotonic() - from) / 1000;
  return summariseRun({ relay, sandbox, tally, seconds, posted });
}

function createDemoConfig(klaviyoUrl: string, directory: string) {
  return loadConfig({
    KLAVIYO_API_KEY: apiKey,
    KLAVIYO_BASE_URL: klaviyoUrl,
    PORT: '0',
    STORE: 'journal',
    DATA_DIR: directory,
    EVENT_BATCH_MAX_COUNT: '500',
    PROFILE_BATCH_MAX_COUNT: '500',
    EVENT_FLUSH_INTERVAL_MS: '500',
    PROFILE_FLUSH_INTERVAL_MS: '500',
    SUBSCRIBE_FLUSH_INTERVAL_MS: '500',
    UNSUBSCRIBE_FLUSH_INTERVAL_MS: '500',
  });
}

const listCounts = (planted: Readonly<Record<string, number>>): string =>
  Object.entries(planted)
    .map(([kind, count]) => `${count} ${kind}`)
    .join(', ');

/** Waits until the metrics show no buffered envelopes. */
async function waitUntilDrained(relay: App, clock: Clock): Promise<void> {
  const deadline = clock.monotonic() + drainLimitMs;
  while (clock.monotonic() < deadline) {
    const counts = await readLaneCounts(relay);
    if (lanes.every((lane) => counts[lane].buffered === 0)) return;
    await wait(clock, pollMs);
  }
}

/** Waits for the sandbox: it answers a request about consents before it has processed it, as Klaviyo does. */
async function waitUntilConsentsRecorded({
  relay,
  sandbox,
  clock,
}: Pick<RunningDemo, 'relay' | 'sandbox'> & { readonly clock: Clock }): Promise<void> {
  const deadline = clock.monotonic() + drainLimitMs;
  const { subscribe, unsubscribe } = await readLaneCounts(relay);
  while (clock.monotonic() < deadline) {
    const { subscribed, unsubscribed } = countConsents(sandbox);
    const isRecorded =
      subscribed + unsubscribed >= subscribe.delivered && unsubscribed >= unsubscribe.delivered;
    if (isRecorded) return;
    await wait(clock, pollMs);
  }
}

/** People in the list of the newsletter, and people who left it. */
function countConsents(sandbox: RunningSandbox) {
  const { profiles } = sandbox.state();
  const subscribed = profiles.filter(({ lists }) => lists.length > 0).length;
  const unsubscribed = profiles.filter(({ listSuppressions }) => listSuppressions.length > 0);
  return { subscribed, unsubscribed: unsubscribed.length };
}

async function readLaneCounts(relay: App): Promise<Record<Lane, LaneCounts>> {
  const text = await (await fetch(`${relay.url}/metrics`)).text();
  const read = (name: string, labels: string): number => {
    const line = text.split('\n').find((each) => each.startsWith(`${name}{${labels}} `));
    return line === undefined ? 0 : Number(line.slice(line.lastIndexOf(' ')));
  };
  const of = (lane: Lane): LaneCounts => ({
    accepted: read('relay_ingest_total', `lane="${lane}",outcome="accepted"`),
    delivered: read('relay_settled_total', `lane="${lane}",outcome="delivered"`),
    merged: read('relay_settled_total', `lane="${lane}",outcome="merged"`),
    deadLettered: read('relay_settled_total', `lane="${lane}",outcome="dead_lettered"`),
    buffered: read('relay_buffer_envelopes', `lane="${lane}"`),
  });
  return mapLanes(of);
}

const deadLetterPage = z.object({
  data: z.array(
    z.object({ lane: z.string(), reason: z.object({ code: z.string(), detail: z.string() }) }),
  ),
});

async function readDeadLetters(relay: App): Promise<Summary['deadLetters']> {
  const { data } = deadLetterPage.parse(
    await (await fetch(`${relay.url}/v1/dead-letters?limit=1000`)).json(),
  );
  const counts = new Map<string, number>();
  for (const { lane, reason } of data) {
    const text = `${lane}: ${reason.code}: ${reason.detail}`;
    counts.set(text, (counts.get(text) ?? 0) + 1);
  }
  return [...counts].map(([reason, count]) => ({ reason, count }));
}

type DayResult = {
  relay: App;
  sandbox: RunningSandbox;
  tally: Tally;
  seconds: number;
  posted: number;
};

async function summariseRun({
  relay,
  sandbox,
  tally,
  seconds,
  posted,
}: DayResult): Promise<Summary> {
  const { counters, profiles, requests, violations } = sandbox.state();
  const byStatus: Record<string, number> = {};
  for (const { status } of requests) {
    const key = String(status ?? 'no response');
    byStatus[key] = (byStatus[key] ?? 0) + 1;
  }
  return {
    seconds,
    posted,
    rejected: tally.rejected,
    duplicates: tally.duplicates,
    counts: await readLaneCounts(relay),
    recordedEvents: counters.recorded,
    profiles: profiles.length,
    subscribers: countConsents(sandbox).subscribed,
    repeatsAtKlaviyo: counters.repeats,
    windowsExceeded: violations.length,
    requests: byStatus,
    deadLetters: await readDeadLetters(relay),
  };
}
