import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { describe, expect, it, onTestFinished } from 'vitest';
import { formatDryRun } from '../../src/import/report.js';
import { dryRun, type DryRunDeps, type DryRunOptions } from '../../src/import/dry-run.js';
import { noCounts } from '../../src/import/progress.js';
import { runImport } from '../../src/import/importer.js';
import { toRules } from '../../src/klaviyo/revision.js';
import { startRelay } from '../support/relay.js';
import { aFolder, someDeps, someDryDeps, someMapping, someOptions } from './fixture.js';

function aFile(content: string | Buffer, name: string): string {
  const path = join(aFolder(), name);
  writeFileSync(path, content);
  return path;
}

const someDryOptions = (input: string, overrides: Partial<DryRunOptions> = {}): DryRunOptions => ({
  ...someOptions({ input, url: '' }),
  lane: null,
  ...overrides,
});

const rows = [
  'event_name,email,value,phone_number,insert_id,n',
  'Placed Order,ada@klaviyo-demo.com,12.5,,o-1,1',
  'Placed Order,ada@klaviyo-demo.com,12.5,,o-1,1',
  'Placed Order,ada,1,,o-2,1',
  'Placed Order,ada,1,,o-3,1',
  'Placed Order,bo@klaviyo-demo.com,many,,o-4,1',
  'Placed Order,bo@klaviyo-demo.com,1,12,o-5,1',
  'Placed Order,bo@klaviyo-demo.com,1',
  'Placed Order,bo@klaviyo-demo.com,1,,NULL,1',
  ',bo@klaviyo-demo.com,1,,o-6,1',
  ',,,,,',
  '"Placed Order"x,bo@klaviyo-demo.com,1,,o-7,1',
];
const csv = `${rows.join('\n')}\n`;

describe('a dry run', () => {
  it('reports for each file the counts that a relay responds with for the same file', async () => {
    const relay = await startRelay();
    onTestFinished(() => relay.stop());
    const files = [
      aFile(csv, 'orders.csv'),
      aFile(gzipSync(csv), 'orders.csv.gz'),
      aFile('{"event_name":"e","distinct_id":1}\n{"event_name":"e"}\nno JSON\n', 'x.ndjson'),
    ];
    for (const [at, input] of files.entries()) {
      const format = input.includes('.csv') ? 'csv' : 'ndjson';
      const { counts } = await dryRun(someDryOptions(input, { format }), someDryDeps());
      const options = someOptions({ input, url: relay.app.url, format });
      const { counts: responses } = await runImport(options, someDeps(input));
      // The second file has the entries of the first. A dry run assumes a relay without any
      // entries.
      const isRepeat = at === 1;
      expect({ ...responses, ...(isRepeat && { accepted: 2, duplicates: 1 }) }).toEqual(counts);
    }
  });

  it('reports each issue with its frequency and lines, and shows the first entries', async () => {
    const input = aFile(csv, 'orders.csv');
    const result = await dryRun(someDryOptions(input), someDryDeps());
    expect(result.counts).toEqual({
      ...noCounts,
      read: 10,
      accepted: 2,
      duplicates: 1,
      refused: 7,
      warned: 1,
    });
    expect(result.rejected).toEqual([
      { reason: '/email must be an e-mail address', count: 2, lines: [4, 5] },
      { reason: expect.stringContaining('/value ') as string, count: 1, lines: [6] },
      { reason: 'has 3 cells, but the header has 6', count: 1, lines: [8] },
      { reason: expect.stringContaining('/insert_id is a word') as string, count: 1, lines: [9] },
      { reason: '/event_name is required', count: 1, lines: [10] },
      { reason: expect.stringContaining('after a closing quote') as string, count: 1, lines: [12] },
    ]);
    expect(result.warned).toMatchObject([{ count: 1, lines: [7] }]);
    expect(result.examples.map(({ line }) => line)).toEqual([2, 7]);
    const report = formatDryRun(result, 'orders.csv');
    expect(report).toContain('orders.csv: some entries would be rejected; nothing was sent\n');
    expect(report).toContain('    n → properties.n\n');
    expect(report).toContain('    2: /email must be an e-mail address (line 4, 5)\n');
    expect(report).toContain(
      '    line 2: {"event_name":"Placed Order","email":"ada@klaviyo-demo.com"',
    );
  });

  it('writes nothing and needs no relay', async () => {
    const input = aFile(csv, 'orders.csv');
    await dryRun(someDryOptions(input), someDryDeps());
    expect([`${input}.import.json`, `${input}.rejected.ndjson`].filter(existsSync)).toEqual([]);
  });

  it('reads phone numbers and times as the relay is assumed to', async () => {
    const text = 'event_name,phone_number,event_time\ne,0151 23456789,1995-01-01T00:00:00Z\n';
    const input = aFile(text, 'x.csv');
    const counted = async (deps: Partial<DryRunDeps>) =>
      (await dryRun(someDryOptions(input), someDryDeps(deps))).counts;
    expect(await counted({ defaultCountry: 'DE' })).toMatchObject({ accepted: 1 });
    expect(await counted({})).toMatchObject({ refused: 1 });
    const rules = toRules('2024-10-15');
    expect(await counted({ defaultCountry: 'DE', rules })).toMatchObject({ refused: 1 });
  });

  it('reports an input that is empty or cannot be read to its end', async () => {
    const bytes = gzipSync(
      `email\n${Array.from({ length: 5000 }, (_, at) => `a${at}@klaviyo-demo.com\n`).join('')}`,
    );
    const cut = aFile(bytes.subarray(0, -100), 'x.csv.gz');
    const options = someDryOptions(cut, { format: 'csv', lane: 'profiles' });
    const result = await dryRun(options, someDryDeps());
    expect(formatDryRun(result, 'x.csv.gz')).toContain(
      'the input was not read to its end: the gzip file is truncated',
    );
    const empty = aFile('email\n', 'x.csv');
    const none = await dryRun(someDryOptions(empty, { lane: 'profiles' }), someDryDeps());
    expect(formatDryRun(none, 'x.csv')).toContain(
      'x.csv: the input contains no entries; nothing was sent',
    );
  });

  it('reports that all entries would be rejected', async () => {
    const input = aFile('email,plan\nada,gold\n', 'x.csv');
    const mapping = someMapping({ omitted: ['plan'] });
    const options = someDryOptions(input, { lane: 'profiles', mapping });
    const report = formatDryRun(await dryRun(options, someDryDeps()), 'x.csv');
    expect(report).toContain('x.csv: every entry would be rejected; nothing was sent');
    expect(report).toContain('    plan → left out\n');
  });

  it('stops on request', async () => {
    const input = aFile(csv, 'orders.csv');
    const result = await dryRun(
      someDryOptions(input),
      someDryDeps({ signal: AbortSignal.abort() }),
    );
    expect(result).toMatchObject({ stopped: 'interrupted', counts: { read: 0 } });
  });
});
