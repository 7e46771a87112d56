import type { Lane } from '../model/lane.js';
import { demoLanes } from './shop.js';

/** What became of the entries of a lane, by the metrics of the relay. */
export type LaneCounts = {
  readonly accepted: number;
  readonly delivered: number;
  readonly merged: number;
  readonly deadLettered: number;
  readonly buffered: number;
};

export type Summary = {
  readonly seconds: number;
  readonly posted: number;
  readonly rejected: number;
  readonly duplicates: number;
  readonly counts: Readonly<Record<Lane, LaneCounts>>;
  /** Counts of the sandbox. */
  readonly recordedEvents: number;
  readonly profiles: number;
  /** Members of the list of the newsletter. */
  readonly subscribers: number;
  readonly repeatsAtKlaviyo: number;
  readonly windowsExceeded: number;
  /** Requests to Klaviyo by status. */
  readonly requests: Readonly<Record<string, number>>;
  readonly deadLetters: readonly { readonly count: number; readonly reason: string }[];
};

/** Returns true if every accepted entry is delivered, merged, dead-lettered or buffered, and the sandbox recorded
 * each delivered event and each consent once. */
export function isBalanced({
  counts,
  recordedEvents,
  subscribers,
  repeatsAtKlaviyo,
}: Summary): boolean {
  const isComplete = Object.values(counts).every(
    ({ accepted, delivered, merged, deadLettered, buffered }) =>
      accepted === delivered + merged + deadLettered + buffered,
  );
  const areSubscribed = subscribers === counts.subscribe.delivered - counts.unsubscribe.delivered;
  const areRecorded = recordedEvents === counts.events.delivered && repeatsAtKlaviyo >= 0;
  return isComplete && areSubscribed && areRecorded;
}

/** Formats the summary for the terminal. */
export function formatDemoSummary(summary: Summary): string {
  const { counts, requests } = summary;
  const total = Object.values(requests).reduce((sum, count) => sum + count, 0);
  const row = (label: string, select: (counts: LaneCounts) => number): string =>
    `  ${label.padEnd(26)}${demoLanes.map((lane) => cell(select(counts[lane]))).join('')}`;
  return [
    '',
    `  ${''.padEnd(26)}${demoLanes.map((lane) => lane.padStart(cellChars)).join('')}`,
    row('accepted (202)', ({ accepted }) => accepted),
    row('delivered', ({ delivered }) => delivered),
    row('merged before sending', ({ merged }) => merged),
    row('dead-lettered', ({ deadLettered }) => deadLettered),
    row('still buffered', ({ buffered }) => buffered),
    '',
    `  posted ${number(summary.posted)}: ${number(summary.duplicates)} were duplicates, ${number(summary.rejected)} were rejected with a reason`,
    `  Klaviyo: ${number(summary.recordedEvents)} events recorded, ${number(summary.profiles)} profiles, ${number(summary.subscribers)} subscribers to the newsletter, ${summary.windowsExceeded} rate windows exceeded`,
    `  requests to Klaviyo: ${total} (${Object.entries(requests)
      .map(([status, count]) => `${count} × ${status}`)
      .join(', ')})`,
    ...(summary.deadLetters.length === 0 ? [] : ['', '  dead letters by reason:']),
    ...summary.deadLetters.map(({ count, reason }) => `  ${cell(count)}  ${reason}`),
    '',
    isBalanced(summary)
      ? `  The counts add up: accepted = delivered + merged + dead-lettered, and Klaviyo recorded each delivered event and consent once. ${summary.seconds.toFixed(1)} s.`
      : '  THE COUNTS DO NOT ADD UP. This is a bug: please report it with this output.',
    '',
  ].join('\n');
}

const cellChars = 12;
const number = (value: number): string => value.toLocaleString('en-US');
const cell = (value: number): string => number(value).padStart(cellChars);
