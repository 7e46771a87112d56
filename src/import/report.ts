/**
 * What an import prints: its progress while it runs, and summaries at the end.
 */

import type { Clock } from '../clock.js';
import { entryNames } from '../ingest/schema.js';
import type { DryRunResult, FindingCount } from './dry-run.js';
import type { Report } from './import-rows.js';
import type { ImportResult } from './importer.js';
import { noCounts, type Counts } from './progress.js';
import type { ImportLane } from './fields.js';

export type Display = {
  readonly write: (text: string) => void;
  /** In a terminal one line is redrawn. Otherwise a line is printed from time to time. */
  readonly isTerminal: boolean;
  /** Characters in a line. */
  readonly width: () => number;
};

const redrawMs = 100;
const lineMs = 10_000;

/** Shows the progress of an import, each line after `label`. `end` clears the redrawn line. */
export function createReport(clock: Clock, display: Display, label = ''): Report & { end(): void } {
  const { isTerminal, write } = display;
  let begun = {
    lane: 'events' as ImportLane,
    position: 0,
    counts: noCounts,
    size: null as number | null,
  };
  let begunAt = clock.monotonic();
  let shownAt = -Infinity;
  let hasShown = false;

  const show = (text: string): void => {
    shownAt = clock.monotonic();
    hasShown = true;
    const line = `${label}${text}`;
    write(isTerminal ? `\r${line.slice(0, display.width() - 1)}\x1b[K` : `${line}\n`);
  };
  const isDue = (): boolean => clock.monotonic() - shownAt >= (isTerminal ? redrawMs : lineMs);

  return {
    begun(at) {
      begun = at;
      begunAt = clock.monotonic();
      // Without a terminal, nothing is printed until there is something to report.
      shownAt = isTerminal ? -Infinity : begunAt;
    },
    moved({ position, counts }) {
      if (!isDue()) return;
      const elapsedMs = clock.monotonic() - begunAt;
      const read = counts.read - begun.counts.read;
      show(
        formatProgress({
          lane: begun.lane,
          read: counts.read,
          perSecond: elapsedMs === 0 ? 0 : read / (elapsedMs / 1000),
          share: begun.size === null ? null : begun.size === 0 ? 1 : position / begun.size,
          leftMs: estimateLeftMs({ size: begun.size, position, from: begun.position, elapsedMs }),
        }),
      );
    },
    waiting(detail, waitMs) {
      // In a terminal every wait is shown; in a log one from time to time.
      if (isTerminal || isDue() || !hasShown) show(`waiting ${formatDuration(waitMs)} (${detail})`);
    },
    end() {
      if (isTerminal) write('\r\x1b[K');
    },
  };
}

type Position = { size: number | null; from: number; position: number; elapsedMs: number };

/** Null if it cannot be estimated. */
function estimateLeftMs({ size, from, position, elapsedMs }: Position): number | null {
  if (size === null || position <= from) return null;
  return ((size - position) / (position - from)) * elapsedMs;
}

export type Shown = {
  readonly lane: ImportLane;
  readonly read: number;
  readonly perSecond: number;
  /** In [0, 1]; null if unknown. */
  readonly share: number | null;
  readonly leftMs: number | null;
};

const barWidth = 24;

export function formatProgress({ lane, read, perSecond, share, leftMs }: Shown): string {
  const done = share === null ? null : Math.min(1, share);
  const filled = Math.round((done ?? 0) * barWidth);
  return [
    ...(done === null
      ? []
      : [`${'█'.repeat(filled).padEnd(barWidth, '░')} ${Math.floor(done * 100)} %`]),
    `${formatCount(read)} ${entryNames[lane].many}`,
    `${formatCount(perSecond)}/s`,
    ...(leftMs === null ? [] : [`${formatDuration(leftMs)} left`]),
  ].join('  ');
}

export type Ended = {
  readonly input: string;
  readonly rejectedPath: string;
  readonly elapsedMs: number;
};

/** The summary of one import. */
export function formatImportSummary(
  result: ImportResult,
  { input, rejectedPath, elapsedMs }: Ended,
): string {
  const { read, accepted, duplicates, refused, skipped, warned } = result.counts;
  const lines = [
    describeImportResult(result, getInputName(input)),
    `  read        ${formatCount(read)}`,
    `  accepted    ${formatCount(accepted)}`,
    `  duplicates  ${formatCount(duplicates)}`,
    `  rejected    ${formatCount(refused)}${refused === 0 ? '' : `, with the reasons in ${rejectedPath}`}`,
    ...formatSkipped(skipped),
    ...(warned === 0
      ? []
      : [`  warned      ${formatCount(warned)}: accepted with a part left out`]),
    `  time        ${formatDuration(elapsedMs)}`,
  ];
  return `${lines.join('\n')}\n`;
}

const formatSkipped = (skipped: number): readonly string[] =>
  skipped === 0 ? [] : [`  skipped     ${formatCount(skipped)}: not subscribed`];

/**
 * The summary of several imports, after their own. `inputs`: all of them, including those not
 * started.
 */
export function formatTotal(results: readonly ImportResult[], inputs: readonly string[]): string {
  const sum = (name: keyof Counts): string =>
    formatCount(results.reduce((total, { counts }) => total + counts[name], 0));
  const skipped = sum('skipped') === '0' ? '' : `, ${sum('skipped')} skipped`;
  const counts = `${sum('read')} read, ${sum('accepted')} accepted, ${sum('duplicates')} duplicates, ${sum('refused')} rejected${skipped}`;
  const left = inputs.slice(results.length);
  const more = left.length === 0 ? '' : `; not started: ${left.join(', ')}`;
  return `${results.length} of ${inputs.length} files: ${counts}${more}\n`;
}

const getInputName = (input: string): string => (input === '-' ? 'stdin' : input);

/**
 * If every entry was rejected, apart from those of people who did not consent, nothing was imported,
 * whatever else succeeded.
 */
export function isAllRejected({ read, refused, skipped }: Counts): boolean {
  return refused > 0 && refused + skipped === read;
}

function describeImportResult(result: ImportResult, input: string): string {
  const { stopped, wasFinished, line, counts } = result;
  const isRefused = isAllRejected(counts);
  if (stopped !== null) {
    const reach = `up to line ${line}, then the import stopped: ${stopped}. ${describeNextStep(result)}`;
    if (counts.read === 0)
      return `${input}: nothing was imported. The import stopped: ${stopped}. ${describeNextStep(result)}`;
    return isRefused
      ? `${input}: every entry was rejected ${reach}`
      : `${input} was imported ${reach}`;
  }
  if (counts.read === 0) return `${input} contains no entries`;
  if (counts.skipped === counts.read) return `${input}: every entry was skipped`;
  if (isRefused) {
    const again = wasFinished ? ' in an earlier run; --restart tries again' : '';
    return `${input}: every entry was rejected${again}`;
  }
  return wasFinished
    ? `${input} was imported in an earlier run; --restart imports it again`
    : `${input} was imported`;
}

function describeNextStep({ isDamaged, canResume }: ImportResult): string {
  if (isDamaged) {
    return 'Get an undamaged copy of the file and start again with --restart: entries that are already accepted become duplicates.';
  }
  return canResume
    ? 'The same command resumes from there.'
    : 'An import from a pipe cannot resume: leave these lines out the next time.';
}

const formatCount = (value: number): string => Math.round(value).toLocaleString('en-US');

export function formatDuration(ms: number): string {
  const seconds = Math.ceil(ms / 1000);
  const [hours, minutes] = [Math.floor(seconds / 3600), Math.floor((seconds % 3600) / 60)];
  if (hours > 0) return `${hours} h ${minutes} min`;
  return minutes > 0 ? `${minutes} min ${seconds % 60} s` : `${seconds} s`;
}

/** The report of a dry run, for the terminal. */
export function formatDryRun(result: DryRunResult, input: string): string {
  const { lane, columns, counts, rejected, warned, examples } = result;
  const lines = [
    `${getInputName(input)}: ${describeDryRun(result)}; nothing was sent`,
    ...(columns === null ? [] : ['  columns', ...columns.targets.map(formatColumn)]),
    `  read        ${formatCount(counts.read)} ${entryNames[lane].many}`,
    `  accepted    ${formatCount(counts.accepted)}`,
    `  duplicates  ${formatCount(counts.duplicates)}`,
    `  rejected    ${formatCount(counts.refused)}`,
    ...rejected.map(formatFinding),
    ...formatSkipped(counts.skipped),
    ...(counts.warned === 0
      ? []
      : [`  warned      ${formatCount(counts.warned)}: accepted with a part left out`]),
    ...warned.map(formatFinding),
    ...(examples.length === 0 ? [] : [formatExamplesHead(lane)]),
    ...examples.map(({ line, body }) => `    line ${line}: ${body}`),
  ];
  return `${lines.join('\n')}\n`;
}

function describeDryRun({ counts, stopped }: DryRunResult): string {
  if (stopped !== null) return `the input was not read to its end: ${stopped}`;
  if (counts.read === 0) return 'the input contains no entries';
  if (counts.skipped === counts.read) return 'every entry would be skipped';
  if (isAllRejected(counts)) return 'every entry would be rejected';
  return counts.refused > 0 ? 'some entries would be rejected' : 'every entry would be accepted';
}

const formatColumn = ({ column, fields }: { column: string; fields: readonly string[] }): string =>
  `    ${column} → ${fields.length === 0 ? 'left out' : fields.join(', ')}`;

const formatFinding = ({ reason, count, lines }: FindingCount): string =>
  `    ${formatCount(count)}: ${reason} (line ${lines.join(', ')}${count > lines.length ? ', …' : ''})`;

const formatExamplesHead = (lane: ImportLane): string =>
  `  the first ${entryNames[lane].many} as they would be posted`;
