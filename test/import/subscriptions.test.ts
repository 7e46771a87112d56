import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { createColumns } from '../../src/import/columns.js';
import { dryRun } from '../../src/import/dry-run.js';
import { runImport } from '../../src/import/importer.js';
import type { Mapping } from '../../src/import/mapping.js';
import { createPrepare } from '../../src/import/prepare.js';
import { noCounts } from '../../src/import/progress.js';
import { formatDryRun } from '../../src/import/report.js';
import { createReadSubscriptions } from '../../src/import/subscriptions.js';
import { createManualClock } from '../support/manual-clock.js';
import {
  acceptAll,
  aFolder,
  aReadTime,
  someDeps,
  someDryDeps,
  someMapping,
  someOptions,
  startFakeRelay,
} from './fixture.js';

const [email, phone] = ['ada@klaviyo-demo.com', '+15005550006'];

/** The header of an export of Klaviyo, with the columns that matter here. */
const header = [
  'Email',
  'Phone Number',
  'Email Marketing Consent',
  'Email Marketing Consent Timestamp',
  'SMS Marketing Consent',
  'SMS Marketing Consent Timestamp',
  'First Name',
];
const [emailDate, smsDate] = ['2025-03-01T09:30:00Z', '2025-04-01T09:30:00+02:00'];

/** The manual clock starts on 2026-01-15. */
function prepare(
  cells: readonly string[],
  {
    columns = header,
    ...overrides
  }: Partial<Omit<Mapping, 'columns'>> & { columns?: string[] } = {},
) {
  const read = createColumns(columns, 'subscribe', someMapping(overrides));
  const row = { line: 2, lastLine: 2, end: 99, text: cells.join(','), cells, fault: null };
  const prepared = createPrepare(
    'subscribe',
    createReadSubscriptions(read, createManualClock()),
  )(row);
  return prepared.map(({ body, errors, isSkipped, original }) => ({
    posted: body === null ? null : (JSON.parse(body) as object),
    errors: errors.map(({ pointer, detail }) => `${pointer} ${detail}`),
    isSkipped,
    original: JSON.parse(original) as object,
  }));
}

const aConsent = (channel: string, date: string) => ({
  channels: { [channel]: ['marketing'] },
  historical: true,
  consented_at: date,
});

describe('a row of a file of subscribers', () => {
  it('becomes one historical subscription for each channel, with the date of that channel', () => {
    const rows = prepare([email, phone, 'SUBSCRIBED', emailDate, 'subscribed', smsDate, 'Ada']);
    expect(rows.map(({ posted }) => posted)).toEqual([
      { email, phone_number: phone, ...aConsent('email', emailDate) },
      { email, phone_number: phone, ...aConsent('sms', smsDate) },
    ]);
  });

  it.each(['SUBSCRIBED', 'Subscribed', 'yes', 'TRUE'])('gives a consent with %s', (word) => {
    const [row] = prepare([email, '', word, emailDate, '', '', '']);
    expect(row?.posted).toEqual({ email, ...aConsent('email', emailDate) });
  });

  it.each([
    'UNSUBSCRIBED',
    'NEVER_SUBSCRIBED',
    'Never Subscribed',
    'not_subscribed',
    'pending',
    'no',
    'FALSE',
  ])('is skipped with %s, with a date or without', (word) => {
    for (const date of ['', emailDate, 'soon']) {
      const rows = prepare([email, '', word, date, '', '', '']);
      expect(rows).toMatchObject([{ posted: null, errors: [], isSkipped: true }]);
    }
  });

  it('becomes a subscription for the channel with a valid consent if the consent for the other channel is rejected', () => {
    const rows = prepare([email, phone, 'UNSUBSCRIBED', '', 'SUBSCRIBED', smsDate, '']);
    expect(rows).toMatchObject([
      { isSkipped: true },
      { posted: { email, phone_number: phone, ...aConsent('sms', smsDate) }, isSkipped: false },
    ]);
  });

  const unclear = /^\/channels\/email is neither a consent .* \(column Email Marketing Consent\)$/;
  const inColumn = (detail: string) =>
    `/consented_at ${detail} (column Email Marketing Consent Timestamp)`;

  it.each(['maybe', '1', 'Y', 'subscribe?', 'email'])(
    'is rejected with the unclear consent %s, and the message does not repeat it',
    (word) => {
      const [row] = prepare([email, '', word, emailDate, '', '', '']);
      expect(row).toMatchObject({
        posted: null,
        errors: [expect.stringMatching(unclear)],
        isSkipped: false,
        original: { email, channels: { email: word }, consented_at: emailDate },
      });
      expect(row?.errors[0]).not.toContain('maybe');
    },
  );

  it.each([
    ['', inColumn('is required: the cell is empty')],
    ['2026-01-15T12:00:01Z', inColumn('is in the future')],
    ['2025-03-01T09:30:00', expect.stringContaining('has no offset from UTC') as string],
    ['03/04/2025', expect.stringContaining('may begin with the day or the month') as string],
    ['2025-02-30T00:00:00Z', inColumn('is not a time that exists')],
  ])('is rejected with the date %j', (date, error) => {
    const [row, ...others] = prepare([email, '', 'SUBSCRIBED', date, '', '', '']);
    expect(others).toEqual([]);
    expect(row).toMatchObject({ posted: null, errors: [error], isSkipped: false });
    expect(row?.errors[0]).toContain('(column Email Marketing Consent Timestamp)');
  });

  it('is accepted with a date at the present moment', () => {
    const [row] = prepare([email, '', 'SUBSCRIBED', '2026-01-15T12:00:00Z', '', '', '']);
    expect(row?.errors).toEqual([]);
  });

  it('is rejected with a date and no consent, and names the column of each channel', () => {
    expect(
      prepare([email, phone, '', emailDate, 'SUBSCRIBED', '', '']).flatMap(({ errors }) => errors),
    ).toEqual([
      '/channels/email is required: the cell is empty (column Email Marketing Consent)',
      '/consented_at is required: the cell is empty (column SMS Marketing Consent Timestamp)',
    ]);
  });

  it('is rejected with one error if it has a consent for no channel', () => {
    expect(prepare([email, phone, '', '', '', '', 'Ada'])).toMatchObject([
      {
        posted: null,
        isSkipped: false,
        errors: [
          '/channels is required: the cells are empty (column Email Marketing Consent, SMS Marketing Consent)',
        ],
      },
    ]);
  });

  it('gets the list, the source and the consent of --set, and its date in the given format', () => {
    const [row, ...others] = prepare([email, '01.03.2025 10:30'], {
      columns: ['E-Mail', 'email_marketing_consent_timestamp'],
      constants: [
        { field: 'email_marketing_consent', text: 'subscribed' },
        { field: 'list_id', text: 'Y6nRLr' },
        { field: 'custom_source', text: 'Newsletter of the old shop' },
      ],
      readTime: aReadTime({ format: 'DD.MM.YYYY HH:mm', timezone: 'Europe/Berlin' }),
      hasTimeOptions: true,
    });
    expect(others).toEqual([]);
    expect(row?.posted).toEqual({
      email,
      list_id: 'Y6nRLr',
      custom_source: 'Newsletter of the old shop',
      ...aConsent('email', '2025-03-01T09:30:00.000Z'),
    });
  });
});

describe('the header of a file of subscribers is an error', () => {
  const explain = (columns: string[], overrides: Partial<Mapping> = {}) => {
    try {
      createColumns(columns, 'subscribe', someMapping(overrides));
      return null;
    } catch (error) {
      return String(error);
    }
  };

  it.each<[string, string[], string]>([
    ['without a consent', ['Email', 'Accepts'], 'has no email_marketing_consent or sms_'],
    [
      'with a consent and no date',
      [
        'Email',
        'Email Marketing Consent',
        'Email Marketing Consent Timestamp',
        'SMS Marketing Consent',
      ],
      'there is sms_marketing_consent without sms_marketing_consent_timestamp, but each consent needs its date',
    ],
    [
      'with a date and no consent',
      ['Email', 'Email Marketing Consent Timestamp'],
      'there is email_marketing_consent_timestamp without email_marketing_consent: ',
    ],
    ['without a person', ['Email Marketing Consent'], 'has no email or phone_number'],
  ])('%s', (_what, columns, words) => {
    expect(explain(columns)).toContain(words);
  });

  it('if --set gives an unclear consent, or --map names a property', () => {
    const constants = [{ field: 'email_marketing_consent', text: '1' }];
    const columns = ['Email', 'email_marketing_consent_timestamp'];
    expect(explain(columns, { constants })).toContain('the value is neither a consent');
    const mapped = { columns: [{ column: 'Email', field: 'properties.mail' }] };
    expect(explain(columns, mapped)).toContain('properties.mail is not a field of subscriptions');
  });

  it('or else shows which columns are left out', () => {
    const { targets } = createColumns(header, 'subscribe', someMapping());
    expect(targets.at(-1)).toEqual({ column: 'First Name', fields: [] });
    expect(targets[3]?.fields).toEqual(['email_marketing_consent_timestamp']);
  });
});

function aFile(name: string, lines: readonly string[]): string {
  const path = join(aFolder(), name);
  writeFileSync(path, `${lines.join('\n')}\n`);
  return path;
}

const lines = [
  header.join(','),
  `${email},${phone},SUBSCRIBED,${emailDate},SUBSCRIBED,${smsDate},Ada`,
  `bo@klaviyo-demo.com,,NEVER_SUBSCRIBED,,,,Bo`,
  `cy@klaviyo-demo.com,,SUBSCRIBED,,,,Cy`,
  `di@klaviyo-demo.com,,SUBSCRIBED,${emailDate},,,Di`,
];

const readRejected = (input: string) =>
  readFileSync(`${input}.rejected.ndjson`, 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as { line: number; errors: unknown[]; entry: object });

describe('an import of subscribers', () => {
  it('counts each consent, and lists the rejected ones with their lines', async () => {
    const { url, received } = await startFakeRelay(acceptAll);
    const input = aFile('a.csv', lines);
    const options = someOptions({ input, url, lane: 'subscribe' });
    const { counts } = await runImport(options, someDeps(input));
    expect(counts).toEqual({ ...noCounts, read: 5, accepted: 3, refused: 1, skipped: 1 });
    expect(received.map(({ path }) => path)).toEqual(['/v1/subscriptions/batch']);
    const [rejected] = readRejected(input);
    expect(rejected).toMatchObject({ line: 4, errors: [{ pointer: '/consented_at' }] });

    const corrected = aFile('b.ndjson', [
      JSON.stringify({ ...rejected?.entry, consented_at: emailDate }),
    ]);
    const again = someOptions({ input: corrected, url, lane: 'subscribe' });
    expect((await runImport(again, someDeps(corrected))).counts).toMatchObject({ accepted: 1 });
    expect(JSON.parse(received.at(-1)?.lines[0] ?? '')).toEqual({
      email: 'cy@klaviyo-demo.com',
      ...aConsent('email', emailDate),
    });
  });

  it('resumes between two consents of one row, and posts neither of them twice', async () => {
    const input = aFile('a.csv', lines);
    const stop = new AbortController();
    let count = 0;
    const { url, received } = await startFakeRelay((one) => {
      if (++count === 1) stop.abort();
      return acceptAll(one);
    });
    const options = someOptions({ input, url, lane: 'subscribe', maxCount: 1 });
    const first = await runImport(options, someDeps(input, { signal: stop.signal }));
    expect(first).toMatchObject({ canResume: true, counts: { read: 1, accepted: 1 } });
    const second = await runImport(options, someDeps(input));
    expect(second).toMatchObject({
      stopped: null,
      counts: { read: 5, accepted: 3, refused: 1, skipped: 1 },
    });
    const posted = received.flatMap((each) => each.lines);
    expect(posted).toHaveLength(3);
    expect(new Set(posted).size).toBe(3);
  });

  it('posts nothing if it can read no date of the first rows', async () => {
    const { url, received } = await startFakeRelay(acceptAll);
    const row = `${email},,SUBSCRIBED,01/03/2025,,,`;
    const input = aFile('a.csv', [header.join(','), `${email},,no,,,,`, row, row]);
    const options = someOptions({ input, url, lane: 'subscribe' });
    await expect(runImport(options, someDeps(input))).rejects.toThrow(
      'consented_at of line 3 may begin with the day or the month',
    );
    expect(received).toEqual([]);
  });

  it('of NDJSON makes each line historical, and rejects one that is not', async () => {
    const { url, received } = await startFakeRelay(acceptAll);
    const entry = { email, channels: { email: ['marketing'] } };
    const input = aFile('a.ndjson', [
      JSON.stringify({ ...entry, consented_at: '1740821400' }),
      JSON.stringify({ ...entry, historical: null, consented_at: '1740821401' }),
      JSON.stringify({ ...entry, historical: false, consented_at: '1740821402' }),
    ]);
    const mapping = someMapping({
      constants: [{ field: 'list_id', text: 'Y6nRLr' }],
      readTime: aReadTime({ format: 'epoch' }),
      hasTimeOptions: true,
    });
    const options = someOptions({ input, url, lane: 'subscribe', mapping });
    const { counts } = await runImport(options, someDeps(input));
    expect(counts).toMatchObject({ accepted: 2, refused: 1 });
    expect(
      received.flatMap((each) => each.lines).map((line) => JSON.parse(line) as object),
    ).toEqual([
      { ...entry, historical: true, consented_at: '2025-03-01T09:30:00.000Z', list_id: 'Y6nRLr' },
      { ...entry, historical: true, consented_at: '2025-03-01T09:30:01.000Z', list_id: 'Y6nRLr' },
    ]);
    expect(readRejected(input)).toMatchObject([{ line: 3, errors: [{ pointer: '/historical' }] }]);
  });

  it('of NDJSON does not accept a consent of --set', async () => {
    const input = aFile('a.ndjson', [JSON.stringify({ email })]);
    const mapping = someMapping({
      constants: [{ field: 'email_marketing_consent', text: 'subscribed' }],
    });
    const options = someOptions({ input, url: 'http://127.0.0.1:9', lane: 'subscribe', mapping });
    await expect(runImport(options, someDeps(input))).rejects.toThrow(
      '--set email_marketing_consent is for CSV',
    );
  });

  it('as a dry run shows the subscriptions, and how many people are skipped', async () => {
    const input = aFile('a.csv', lines);
    const result = await dryRun(someOptions({ input, url: '', lane: 'subscribe' }), someDryDeps());
    expect(result.counts).toEqual({ ...noCounts, read: 5, accepted: 3, refused: 1, skipped: 1 });
    const report = formatDryRun(result, 'a.csv');
    expect(report).toContain('  read        5 subscriptions\n');
    expect(report).toContain(
      '    1: /consented_at is required: the cell is empty (column Email Marketing Consent Timestamp) (line 4)\n',
    );
    expect(report).toContain('  skipped     1: not subscribed\n');
    expect(report).toContain(`    line 2: {"email":"${email}"`);
  });
});
