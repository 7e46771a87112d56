import { once } from 'node:events';
import { spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { aProblem, startFakeRelay, acceptAll } from '../import/fixture.js';
import { startRelay } from '../support/relay.js';

const command = new URL('../../dist/main.js', import.meta.url).pathname;

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'relay-import-command-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

function aFile(name: string, content: string | Buffer): string {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
}

function start(args: readonly string[], { stdin = '', env = {} } = {}) {
  const child = spawn(process.execPath, [command, 'import', ...args], { env, cwd: folder });
  child.stdin.end(stdin);
  let [output, errors] = ['', ''];
  child.stdout.on('data', (part: Buffer) => (output += part.toString()));
  child.stderr.on('data', (part: Buffer) => (errors += part.toString()));
  const ended = once(child, 'close').then(() => ({ code: child.exitCode, output, errors }));
  return { child, ended };
}

const run = (...args: Parameters<typeof start>) => start(...args).ended;

const events = (count: number): string =>
  Array.from({ length: count }, (_, at) => `{"event_name":"e","distinct_id":"c${at}"}\n`).join('');

describe('klaviyo-relay import', () => {
  it('exits with 0 if every row is accepted and with 3 if some are rejected', async () => {
    const relay = await startRelay({ env: { RELAY_API_KEYS: 'ingest-key-1' } });
    const env = { RELAY_URL: `${relay.app.url}/`, RELAY_API_KEY: 'ingest-key-1' };
    const good = await run([aFile('a.jsonl', events(3))], { env });
    expect(good).toMatchObject({
      code: 0,
      output: expect.stringContaining('accepted    3') as string,
    });
    const keyFile = aFile('key', 'ingest-key-1\n');
    const stdin = 'event_name;email\ne;ada@klaviyo-demo.com\ne;ada\n';
    const bad = await run(
      ['-', '--format', 'csv', '--delimiter', ';', '--url', relay.app.url, '--key-file', keyFile],
      { stdin },
    );
    expect(bad.output).toContain('rejected    1, with the reasons in import.rejected.ndjson');
    expect(bad.code).toBe(3);
    await relay.stop();
  });

  it.each([
    ['no option', [], [true, true]],
    ['--backfill age', ['--backfill', 'age'], [true, false]],
    ['--backfill none', ['--backfill', 'none'], [false, false]],
  ] as const)('with %s triggers the right flows in Klaviyo', async (_what, options, flows) => {
    const relay = await startRelay();
    const times = ['2020-05-01T00:00:00Z', '2026-11-01T11:00:00Z'];
    const lines = times.map((event_time, insert_id) =>
      JSON.stringify({ event_name: 'e', distinct_id: 'c', event_time, insert_id }),
    );
    const args = [aFile('a.ndjson', lines.join('\n')), '--url', relay.app.url, ...options];
    expect(await run(args)).toMatchObject({ code: 0 });
    await relay.untilSettled();
    const { events: recorded } = relay.sandbox.state();
    expect(recorded.map(({ backfill }) => backfill)).toEqual(flows);
    await relay.stop();
  });

  it('exits with 1 if it stops, and resumes where it stopped', async () => {
    const path = aFile('a.ndjson', events(7));
    let isKnown = true;
    const { url, received } = await startFakeRelay((one, index) => {
      isKnown = index !== 1;
      return isKnown ? acceptAll(one) : { status: 401, body: aProblem('unauthorized', 'no') };
    });
    const args = [path, '--url', url, '--batch', '3'];
    const first = await run(args);
    expect(first.code).toBe(1);
    expect(first.output).toContain(
      'up to line 3, then the import stopped: the server responds with 401: no',
    );
    const second = await run(args);
    expect(second).toMatchObject({
      code: 0,
      output: expect.stringContaining('read        7') as string,
    });
    expect(received.map(({ lines }) => lines.length)).toEqual([3, 3, 3, 1]);
  });

  it.each(['SIGINT', 'SIGTERM'] as const)('finishes its batch at %s', async (signal) => {
    const path = aFile('a.ndjson', events(9));
    const running: { kill?: () => void } = {};
    const { url } = await startFakeRelay((one) => {
      running.kill?.();
      return acceptAll(one);
    });
    const { child, ended } = start([path, '--url', url, '--batch', '1']);
    running.kill = () => child.kill(signal);
    const { code, output } = await ended;
    expect(code).toBe(1);
    expect(output).toMatch(
      /up to line \d, then the import stopped: interrupted. The same command resumes/,
    );
    running.kill = () => undefined;
    expect((await run([path, '--url', url])).output).toContain('accepted    9');
  });

  it('imports several files, each with its own report, progress and file of rejected entries', async () => {
    const relay = await startRelay();
    const files = [
      aFile('a.ndjson', events(3)),
      aFile('b.csv.gz', gzipSync('E-Mail\nada@klaviyo-demo.com\nada\n')),
      aFile('c.csv', 'email;event_name\nbo@klaviyo-demo.com;e\n'),
    ];
    const [, b] = files;
    const args = ['--url', relay.app.url, '--type', 'events'];
    const wrong = await run([...files, ...args]);
    expect(wrong).toMatchObject({ code: 1, output: '' });
    expect(wrong.errors).toContain(`${b ?? ''}: the header has no event_name`);
    expect(readdirSync(folder).sort()).toEqual(['a.ndjson', 'b.csv.gz', 'c.csv']);

    expect(await run([...files, '--url', relay.app.url])).toMatchObject({ code: 1, output: '' });
    const profiles = [b ?? '', aFile('d.csv', 'email\ncy@klaviyo-demo.com\n')];
    const right = await run([...profiles, '--url', relay.app.url, '--type', 'profiles']);
    expect(right.code).toBe(3);
    expect(right.output).toContain(`${b ?? ''} was imported\n  read        2\n`);
    expect(right.output).toContain('d.csv was imported\n  read        1\n');
    expect(right.output).toContain('2 of 2 files: 3 read, 2 accepted, 0 duplicates, 1 rejected\n');
    expect(readdirSync(folder)).toEqual(
      expect.arrayContaining([
        'b.csv.gz.import.json',
        'b.csv.gz.rejected.ndjson',
        'd.csv.import.json',
      ]),
    );
    const again = await run([...profiles, '--url', relay.app.url, '--type', 'profiles']);
    expect(again.output).toMatch(
      /b\.csv\.gz was imported in an earlier run; [^]*d\.csv was imported in an earlier run; /,
    );
    await relay.stop();
  });

  it('resumes with the first unfinished file of several and lists those not started', async () => {
    const files = [
      aFile('a.ndjson', events(4)),
      aFile('b.ndjson', events(5)),
      aFile('c.ndjson', events(6)),
    ];
    let isKnown = true;
    const { url, received } = await startFakeRelay((one, index) => {
      isKnown = index !== 3;
      return isKnown ? acceptAll(one) : { status: 401, body: aProblem('unauthorized', 'no') };
    });
    const args = [...files, '--url', url, '--batch', '2'];
    const first = await run(args);
    expect(first.code).toBe(1);
    expect(first.output).toContain('a.ndjson was imported\n');
    expect(first.output).toContain(
      'b.ndjson was imported up to line 2, then the import stopped: the server responds with 401',
    );
    expect(first.output).toContain(
      `2 of 3 files: 6 read, 6 accepted, 0 duplicates, 0 rejected; not started: ${files[2] ?? ''}\n`,
    );
    const second = await run(args);
    expect(second.code).toBe(0);
    expect(second.output).toContain('3 of 3 files: 15 read, 15 accepted');
    expect(received).toHaveLength(2 + 2 + 2 + 3);
  });

  it('imports subscribers with their consent dates, unless they have unsubscribed since', async () => {
    const relay = await startRelay();
    const [ada, bo] = ['ada@klaviyo-demo.com', 'bo@klaviyo-demo.com'];
    const withdrawal = { email: bo, channels: { email: ['marketing'] }, everywhere: true };
    expect((await relay.post('/v1/unsubscriptions', withdrawal)).status).toBe(202);
    await relay.untilSettled();
    const lines = [
      'Email,Phone Number,Email Marketing Consent,Email Marketing Consent Timestamp,SMS Marketing Consent,SMS Marketing Consent Timestamp',
      `${ada},+16175551212,SUBSCRIBED,2025-03-01T09:30:00Z,SUBSCRIBED,2025-04-01 09:30:00 +0200`,
      `${bo},,SUBSCRIBED,2025-03-02T09:30:00Z,,`,
      'cy@klaviyo-demo.com,,NEVER_SUBSCRIBED,,,',
      'di@klaviyo-demo.com,,SUBSCRIBED,last spring,,',
    ];
    const path = aFile('subscribers.csv', lines.join('\n'));
    const args = [path, '--url', relay.app.url, '--type', 'subscriptions'];
    const imported = await run([...args, '--set', 'list_id=Y6nRLr']);
    expect(imported.code).toBe(3);
    expect(imported.output).toContain('  rejected    1, with the reasons in ');
    expect(imported.output).toContain('  skipped     1: not subscribed\n');
    expect(JSON.parse(readFileSync(`${path}.rejected.ndjson`, 'utf8'))).toMatchObject({
      line: 5,
      errors: [
        {
          pointer: '/consented_at',
          detail: expect.stringContaining('(column Email Marketing Consent Timestamp)') as string,
        },
      ],
    });

    await relay.untilSettled();
    const profileOf = (email: string) =>
      relay.sandbox.state().profiles.find(({ attributes }) => attributes.email === email);
    await relay.until('both consents are recorded', () => {
      return Object.keys(profileOf(ada)?.consent ?? {}).length === 2;
    });
    expect(profileOf(ada)).toMatchObject({
      attributes: { phone_number: '+16175551212' },
      lists: ['Y6nRLr'],
      consent: {
        'email.marketing': { status: 'SUBSCRIBED', consentedAt: Date.UTC(2025, 2, 1, 9, 30) },
        'sms.marketing': { status: 'SUBSCRIBED', consentedAt: Date.UTC(2025, 3, 1, 7, 30) },
      },
    });
    expect(profileOf(bo)?.consent['email.marketing']?.status).toBe('UNSUBSCRIBED');
    expect((await relay.get('/v1/dead-letters')).body.data).toMatchObject([
      { lane: 'subscribe', reason: { code: 'consent_withdrawn' } },
    ]);
    const { profiles } = relay.sandbox.state();
    expect(profiles.map(({ attributes }) => attributes.email).sort()).toEqual([ada, bo]);
    await relay.stop();
  });

  it('continues with the next file if one is truncated, and exits with 1', async () => {
    const { url } = await startFakeRelay(acceptAll);
    const text = Array.from(
      { length: 20_000 },
      (_, at) => `{"event_name":"e","distinct_id":"${Math.sin(at)}"}\n`,
    ).join('');
    const cut = aFile('a.ndjson.gz', gzipSync(text).subarray(0, -500));
    const { code, output } = await run([cut, aFile('b.ndjson', events(1)), '--url', url]);
    expect(code).toBe(1);
    expect(output).toMatch(
      /a\.ndjson\.gz was imported up to line \d+, then the import stopped: the gzip file is truncated\. Get an undamaged copy of the file/,
    );
    expect(output).toContain('b.ndjson was imported\n');
  });

  it('exits with 4 if every row was rejected and does not report success', async () => {
    const relay = await startRelay();
    const path = aFile('a.csv', 'email,event_name\nada,e\nbo,e\n');
    const args = [path, '--url', relay.app.url];
    const rejectedRun = await run(args);
    expect(rejectedRun.code).toBe(4);
    expect(rejectedRun.output).toContain(`${path}: every entry was rejected\n`);
    expect(rejectedRun.output).not.toContain('imported');
    const again = await run(args);
    expect(again.code).toBe(4);
    expect(again.output).toContain(
      'every entry was rejected in an earlier run; --restart tries again\n',
    );
    expect(again.output).not.toContain('imported');
    const none = await run([aFile('b.csv', 'email,event_name\n'), '--url', relay.app.url]);
    expect(none).toMatchObject({ code: 0 });
    expect(none.output).toContain('b.csv contains no entries\n');
    await relay.stop();
  });

  it('with --dry-run shows what an import would do, without a relay', async () => {
    const orders =
      'Name,Email,Created at,Total,Id\n#1,ada@klaviyo-demo.com,03/04/2026 09:05,5,7\n#2,bo,04/04/2026 09:05,6,8\n';
    const path = aFile('orders.csv', orders);
    const args = [
      ...[path, '--dry-run', '--url', 'http://127.0.0.1:9', '--set', 'event_name=Placed Order'],
      ...['--map', 'Name=order_id', '--map', 'name=insert_id', '--map', 'Created at=event_time'],
      ...['--map', 'Total=value', '--omit', 'Id'],
    ];
    const ambiguous = await run(args);
    expect(ambiguous).toMatchObject({ code: 1, output: '' });
    expect(ambiguous.errors).toContain(
      'use --time-format "DD/MM/YYYY HH:mm" or "MM/DD/YYYY HH:mm"',
    );
    const time = ['--time-format', 'DD/MM/YYYY HH:mm', '--timezone', 'Europe/Berlin'];
    const { code, output } = await run([...args, ...time]);
    expect(code).toBe(3);
    expect(output).toContain('some entries would be rejected; nothing was sent');
    expect(output).toContain('    Name → order_id, insert_id\n');
    expect(output).toContain('    Id → left out\n');
    expect(output).toContain('    1: /email must be an e-mail address (line 3)\n');
    expect(output).toContain('"event_time":"2026-04-03T07:05:00.000Z"');
    expect(readdirSync(folder)).toEqual(['orders.csv']);
    const last = await run([aFile('bad.csv', 'Email\nada\n'), '--dry-run', '--type', 'profiles']);
    expect(last).toMatchObject({ code: 4 });
  });

  it.each<[string, readonly string[], Record<string, string>, string]>([
    ['no file', [], {}, 'name one or more files'],
    ['one file twice', ['a.csv', './a.csv'], {}, './a.csv is named twice'],
    ['stdin and a file', ['-', 'a.csv'], {}, '- for stdin cannot be combined'],
    [
      'one file of refused entries for two',
      ['a.csv', 'b.csv', '--rejected', 'r'],
      {},
      'can be used with one input only',
    ],
    [
      'a field that is none',
      ['a.csv', '--map', 'A=emial'],
      {},
      'unknown field emial; did you mean email?',
    ],
    [
      'a constant of no field',
      ['a.csv', '--set', 'plan=gold'],
      {},
      'a property is properties.NAME',
    ],
    ['a column without a field', ['a.csv', '--map', 'Email'], {}, '--map must be "COLUMN=FIELD"'],
    ['a constant without a value', ['a.csv', '--set', 'value='], {}, '--set must be FIELD=VALUE'],
    ['a pattern of no day', ['a.csv', '--time-format', 'MM/YYYY'], {}, '--time-format has no day'],
    [
      'a pattern without a zone',
      ['a.csv', '--time-format', 'DD/MM/YYYY'],
      {},
      'such as --timezone',
    ],
    ['letters for a zone', ['a.csv', '--timezone', 'EST'], {}, '--timezone must be the IANA name'],
    [
      'an encoding that is none',
      ['a.csv', '--encoding', 'ansi-x'],
      {},
      '--encoding must be the name',
    ],
    ['a batch beyond what a relay lists', ['a.csv', '--batch', '5001'], {}, 'from 1 to 5000'],
    ['an option that is none', ['a.csv', '--key', 'hunter2'], {}, 'unknown option --key'],
    [
      'a type that is none',
      ['a.csv', '--type', 'orders'],
      {},
      '--type must be events or profiles or subscriptions',
    ],
    ['a name that tells no format', ['a.txt'], {}, '--format ndjson or --format csv'],
    ['a long delimiter', ['a.csv', '--delimiter', 'ab'], {}, '--delimiter must be one character'],
    [
      'a quote as delimiter',
      ['a.csv', '--delimiter', '"'],
      {},
      '--delimiter must be one character',
    ],
    ['no URL', ['a.csv', '--url', 'relay:3000'], {}, '--url must be an http or https URL'],
    [
      'a password in the URL',
      ['a.csv', '--url', 'http://u:hunter2@x'],
      {},
      'without user, password',
    ],
    ['a batch of none', ['a.csv', '--batch', '0'], {}, '--batch must be a whole number'],
    [
      'two keys',
      ['a.csv', '--key-file', 'k'],
      { RELAY_API_KEY: 'x' },
      'RELAY_API_KEY or --key-file',
    ],
    [
      'a backfill that is none',
      ['a.csv', '--backfill', 'yes'],
      {},
      '--backfill must be all or age or none',
    ],
    ['a key file that is not there', ['a.csv', '--key-file', 'k'], {}, '--key-file cannot be read'],
    [
      'a key of two words',
      ['a.csv'],
      { RELAY_API_KEY: 'hunter2 x' },
      'the key must be ASCII without blanks',
    ],
  ])('exits with 2 for %s and prints no secret', async (_, args, env, words) => {
    const { code, errors } = await run(args, { env });
    expect(code).toBe(2);
    expect(errors).toContain(words);
    expect(errors).not.toContain('hunter2');
  });
});
