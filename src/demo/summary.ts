import type { Lane } from '../model/lane.js';

export type Books = {
  readonly accepted: number;
  readonly delivered: number;
  readonly merged: number;
  readonly deadLettered: number;
  readonly buffered: number;
};

export type Summary = {
  readonly seconds: number;
  readonly posted: number;
  readonly refusedAtTheDoor: number;
  readonly duplicates: number;
  readonly books: Readonly<Record<Lane, Books>>;
  /** The sandbox's own counts. */
  readonly recordedEvents: number;
  readonly profiles: number;
  readonly repeatsAtKlaviyo: number;
  readonly windowsExceeded: number;
  /** Requests to Klaviyo by status. */
  readonly requests: Readonly<Record<string, number>>;
  readonly deadLetters: readonly { readonly count: number; readonly reason: string }[];
};

/** Conservation: everything that the relay accepted is delivered, dead-lettered or buffered. */
export function isBalanced({ books, recordedEvents, repeatsAtKlaviyo }: Summary): boolean {
  const closed = Object.values(books).every(
    ({ accepted, delivered, merged, deadLettered, buffered }) =>
      accepted === delivered + merged + deadLettered + buffered,
  );
  return closed && recordedEvents === books.events.delivered && repeatsAtKlaviyo >= 0;
}

/** The summary, for the terminal. */
export function toText(summary: Summary): string {
  const { books, requests } = summary;
  const total = Object.values(requests).reduce((sum, count) => sum + count, 0);
  const row = (label: string, pick: (books: Books) => number): string =>
    `  ${label.padEnd(26)}${cell(pick(books.events))}${cell(pick(books.profiles))}`;
  return [
    '',
    `  ${''.padEnd(26)}${'events'.padStart(10)}${'profiles'.padStart(10)}`,
    row('accepted (202)', ({ accepted }) => accepted),
    row('delivered', ({ delivered }) => delivered),
    row('merged before they left', ({ merged }) => merged),
    row('dead-lettered', ({ deadLettered }) => deadLettered),
    row('still buffered', ({ buffered }) => buffered),
    '',
    `  posted ${number(summary.posted)}: ${number(summary.duplicates)} were known repeats, ${number(summary.refusedAtTheDoor)} were refused with a reason`,
    `  Klaviyo's side: ${number(summary.recordedEvents)} events recorded, ${number(summary.profiles)} profiles, ${summary.windowsExceeded} rate windows exceeded`,
    `  requests to Klaviyo: ${total} (${Object.entries(requests)
      .map(([status, count]) => `${count} × ${status}`)
      .join(', ')})`,
    ...(summary.deadLetters.length === 0 ? [] : ['', '  dead letters, and why:']),
    ...summary.deadLetters.map(({ count, reason }) => `  ${cell(count)}  ${reason}`),
    '',
    isBalanced(summary)
      ? `  The books balance: accepted = delivered + merged + dead-lettered, and Klaviyo recorded each delivered event once. ${summary.seconds.toFixed(1)} s.`
      : '  THE BOOKS DO NOT BALANCE. This is a bug: please report it with this output.',
    '',
  ].join('\n');
}

const number = (value: number): string => value.toLocaleString('en-US');
const cell = (value: number): string => number(value).padStart(10);
