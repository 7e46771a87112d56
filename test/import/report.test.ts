import { describe, expect, it } from 'vitest';
import type { ImportResult } from '../../src/import/importer.js';
import { noCounts, type Counts } from '../../src/import/progress.js';
import {
  createReport,
  formatDuration,
  formatProgress,
  formatImportSummary,
} from '../../src/import/report.js';
import { createManualClock } from '../support/manual-clock.js';

const counts = (read: number): Counts => ({ ...noCounts, read });

function aReport(isTerminal: boolean, width = 200, label = '') {
  const clock = createManualClock();
  const written: string[] = [];
  const display = {
    write: (text: string) => void written.push(text),
    isTerminal,
    width: () => width,
  };
  return { clock, written, report: createReport(clock, display, label) };
}

const begun = { lane: 'events', position: 100, counts: counts(10), size: 1_000_100 } as const;

describe('the progress of an import', () => {
  it('is one line in a terminal, redrawn at its width', async () => {
    const { clock, written, report } = aReport(true, 21);
    report.begun(begun);
    for (let step = 1; step <= 10; step++) {
      await clock.advance(50);
      report.moved({ position: 100 + step, counts: counts(10 + step) });
    }
    expect(written).toHaveLength(5);
    for (const text of written) expect(text).toBe(`\r${'░'.repeat(20)}\x1b[K`);
    report.end();
    expect(written.at(-1)).toBe('\r\x1b[K');
  });

  it('is a line from time to time elsewhere, with rate and remaining time of this run', async () => {
    const { clock, written, report } = aReport(false);
    report.begun(begun);
    report.moved({ position: 101, counts: counts(11) });
    expect(written).toEqual([]);
    await clock.advance(20_000);
    report.moved({ position: 250_100, counts: counts(2010) });
    report.moved({ position: 250_200, counts: counts(2020) });
    expect(written).toEqual([
      '██████░░░░░░░░░░░░░░░░░░ 25 %  2,010 events  100/s  1 min 0 s left\n',
    ]);
  });

  it('reports a wait at once and then only from time to time', async () => {
    const { clock, written, report } = aReport(false);
    report.begun(begun);
    for (let wait = 0; wait < 4; wait++) {
      report.waiting('503: the buffer is full', 5000);
      await clock.advance(5000);
    }
    expect(written).toEqual([
      'waiting 5 s (503: the buffer is full)\n',
      'waiting 5 s (503: the buffer is full)\n',
    ]);
  });

  it('names the file if there are several', async () => {
    const { clock, written, report } = aReport(false, 200, '2/5 b.csv  ');
    report.begun(begun);
    await clock.advance(20_000);
    report.moved({ position: 250_100, counts: counts(2010) });
    report.waiting('503', 5000);
    expect(written).toEqual([expect.stringMatching(/^2\/5 b\.csv {2}█+░+ 25 %/)]);
  });

  it('is shown without a bar if the size is unknown', () => {
    expect(
      formatProgress({ lane: 'profiles', read: 5, perSecond: 2.4, share: null, leftMs: null }),
    ).toBe('5 profiles  2/s');
  });

  it('never exceeds 100 %', () => {
    const line = formatProgress({ lane: 'events', read: 1, perSecond: 1, share: 1.2, leftMs: 0 });
    expect(line).toBe(`${'█'.repeat(24)} 100 %  1 events  1/s  0 s left`);
  });
});

it.each([
  [0, '0 s'],
  [1, '1 s'],
  [59_001, '1 min 0 s'],
  [3_599_000, '59 min 59 s'],
  [7_260_000, '2 h 1 min'],
])('a time of %i ms is printed as %s', (ms, text) => {
  expect(formatDuration(ms)).toBe(text);
});

describe('the summary of an import', () => {
  const result: ImportResult = {
    stopped: null,
    wasFinished: false,
    canResume: false,
    isDamaged: false,
    line: 5,
    counts: { read: 1500, accepted: 1490, duplicates: 7, refused: 3, skipped: 0, warned: 1 },
  };
  const ended = { input: 'a.csv', rejectedPath: 'a.csv.rejected.ndjson', elapsedMs: 61_000 };

  it('contains the read, accepted, duplicate and rejected counts and the file of the rejected', () => {
    expect(formatImportSummary(result, ended)).toBe(
      [
        'a.csv was imported',
        '  read        1,500',
        '  accepted    1,490',
        '  duplicates  7',
        '  rejected    3, with the reasons in a.csv.rejected.ndjson',
        '  warned      1: accepted with a part left out',
        '  time        1 min 1 s',
        '',
      ].join('\n'),
    );
    expect(formatImportSummary({ ...result, counts: noCounts }, ended)).not.toMatch(
      /reasons|rejected\.ndjson|warned/,
    );
  });

  it.each<[Partial<ImportResult>, string]>([
    [
      { stopped: 'why', canResume: true },
      'up to line 5, then the import stopped: why. The same command resumes',
    ],
    [{ stopped: 'why' }, 'An import from a pipe cannot resume'],
    [{ wasFinished: true }, 'was imported in an earlier run; --restart imports it again'],
    [
      { stopped: 'why', isDamaged: true },
      'up to line 5, then the import stopped: why. Get an undamaged copy of the file and start again with --restart',
    ],
    [{ counts: counts(0) }, 'a.csv contains no entries'],
    [
      { counts: counts(0), stopped: 'why', canResume: true },
      'a.csv: nothing was imported. The import stopped: why. The same command resumes',
    ],
    [{ counts: { ...counts(3), refused: 3 } }, 'a.csv: every entry was rejected\n'],
    [
      { counts: { ...counts(3), refused: 3 }, stopped: 'why', canResume: true },
      'a.csv: every entry was rejected up to line 5, then the import stopped: why.',
    ],
  ])('of %j contains %s', (overrides, words) => {
    expect(formatImportSummary({ ...result, ...overrides }, ended)).toContain(words);
  });
});
