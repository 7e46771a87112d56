import { describe, expect, it } from 'vitest';
import { createLogger, type Logger } from '../../src/log/logger.js';

type Format = 'json' | 'pretty';
const levels = ['trace', 'debug', 'info', 'warn', 'error', 'fatal'] as const;
type Level = (typeof levels)[number];

type Options = {
  readonly level?: Level;
  readonly secrets?: readonly string[];
};

/** The real logger, and what it wrote. */
async function open(format: Format, { level = 'trace', secrets = [] }: Options = {}) {
  let text = '';
  const output = {
    write: (line: string) => void (text += line),
    flush: () => Promise.resolve(true),
    dropped: () => 0,
    onResumed: () => undefined,
    holdsThread: () => false,
  };
  const log = await createLogger(
    { LOG_LEVEL: level, LOG_FORMAT: format },
    { output, isTerminal: false, secrets: () => secrets },
  );
  return { log, text: () => text };
}

const email = 'ada.lovelace@klaviyo-demo.com';
const phone = '+15005550006';
const key = 'pk_0123456789abcdef';
const visitor = 'browser-of-ada';

const withCause = (message: string): Error =>
  new Error('the request failed', { cause: new Error(message) });

const leaks: Readonly<Record<string, (log: Logger) => void>> = {
  'a field': (log) => log.info({ email, phone_number: phone, apiKey: key }, 'text'),
  'a field of a visitor': (log) => log.info({ all: [{ anonymous_id: visitor }] }, 'text'),
  'a nested field': (log) => log.info({ a: { b: { c: { email, phone_number: phone } } } }, 'text'),
  'a field of an array': (log) => log.info({ all: [{ email }, { phone_number: phone }] }, 'text'),
  headers: (log) =>
    log.info({ req: { headers: { Authorization: key, 'x-api-key': key, cookie: email } } }, 'text'),
  'the message of an error': (log) =>
    log.error({ err: new Error(`${email} ${phone} ${key}`) }, 'x'),
  'an error without a text': (log) => log.error({ err: new Error(`${email} ${phone} ${key}`) }),
  'an error alone': (log) => log.error(new Error(`${email} ${phone} ${key}`)),
  'an error of another name': (log) => log.error({ why: new Error(`${email} ${phone}`) }, 'x'),
  'the cause of an error': (log) => log.error({ err: withCause(`${email} ${phone} ${key}`) }, 'x'),
  'a cause that is a text': (log) => log.error({ err: new Error('x', { cause: email }) }, 'x'),
  'errors of an error': (log) =>
    log.error({ err: new AggregateError([new Error(email), phone], 'all failed') }, 'x'),
  'fields of an error': (log) =>
    log.error({ err: Object.assign(new Error('x'), { input: { email }, sent: phone }) }, 'x'),
  bytes: (log) => log.info({ chunk: Buffer.from(email) }, 'text'),
};

describe.each(['json', 'pretty'] as const)('the %s log', (format) => {
  it.each(Object.entries(leaks))('holds no personal data and no key of %s', async (_, write) => {
    const { log, text } = await open(format);
    write(log);
    expect(text()).not.toBe('');
    for (const secret of [email, 'ada.lovelace', phone, '15005550006', key, visitor]) {
      expect(text()).not.toContain(secret);
    }
    expect(text()).not.toContain(JSON.stringify([...Buffer.from(email)]).slice(1, 30));
  });

  it('contains no configured secret in any text or form', async () => {
    const secret = 'a "long" secret/1';
    const { log, text } = await open(format, { secrets: [secret] });
    log.warn({ url: `redis://:${encodeURIComponent(secret)}@h`, why: secret }, `with ${secret}`);
    expect(text()).not.toContain('long');
    expect(text()).toContain('[redacted]');
  });

  it.each(levels)('holds no secret, no personal data and no lower level at %s', async (level) => {
    const secret = 'secret-0123456789-end';
    const { log, text } = await open(format, { level, secrets: [secret] });
    const logged = levels.slice(levels.indexOf(level));
    for (const each of levels) {
      log[each]({ email, url: `https://h/?key=${secret}`, headers: { authorization: key } }, each);
      log[each]({ err: withCause(`${email} ${phone} ${key} ${secret}`) });
    }
    for (const leak of [email, 'ada.lovelace', phone, '15005550006', key, 'secret-', '-end'])
      expect(text()).not.toContain(leak);
    expect(text().match(/the request failed/g)?.length).toBeGreaterThanOrEqual(logged.length);
    for (const each of levels)
      expect(new RegExp(`"level":"${each}"|${each.toUpperCase()}`).test(text())).toBe(
        logged.includes(each),
      );
  });

  it('contains no part of a secret that contains a phone number', async () => {
    const secret = 'secret-0123456789-end';
    const { log, text } = await open(format, { secrets: [secret] });
    log.error(new Error(`the key ${secret} is refused`));
    expect(text()).not.toMatch(/secret-|-end/);
    expect(text()).toContain('the key [redacted] is refused');
  });

  it('contains the origin and code of an error and the address of a server', async () => {
    const { log, text } = await open(format);
    const error = Object.assign(new Error('connect ECONNREFUSED 192.168.100.10:6379'), {
      code: 'ECONNREFUSED',
    });
    log.error({ err: error }, 'failed');
    expect(text()).toContain('192.168.100.10:6379');
    expect(text()).toContain('logger.test.ts');
    expect(text()).toContain('ECONNREFUSED');
  });
});

describe('the JSON log', () => {
  /** The one line that `write` logs. */
  async function logOne(write: (log: Logger) => void): Promise<Record<string, unknown>> {
    const { log, text } = await open('json');
    write(log);
    return JSON.parse(text()) as Record<string, unknown>;
  }

  it('keeps numbers, texts, lists, times and nested objects as they are', async () => {
    const at = new Date(0);
    const fields = { count: 0, list: [1, 'two', { three: 3 }], at, none: null, isOpen: true };
    expect(await logOne((log) => log.info(fields, 'text'))).toMatchObject({
      ...fields,
      at: '1970-01-01T00:00:00.000Z',
      level: 'info',
      msg: 'text',
    });
  });

  it('replaces bytes, because they may contain received data', async () => {
    const line = await logOne((log) => log.info({ chunk: Buffer.from('a'), list: [[1]] }, 'text'));
    expect(line).toMatchObject({ chunk: '[redacted]', list: [[1]] });
  });

  /** An object in `levels` others, each under the name `in`. */
  const nest = (levels: number, innermost: unknown): unknown =>
    levels === 0 ? innermost : { in: nest(levels - 1, innermost) };

  it.each([
    ['objects', (levels: number) => nest(levels, { name: 'deep' })],
    [
      'arrays',
      (levels: number) =>
        Array.from({ length: levels }).reduce<unknown>((inner) => [inner], { name: 'deep' }),
    ],
    [
      'causes',
      (levels: number) =>
        Array.from({ length: levels }).reduce<Error>(
          (cause) => new Error('outer', { cause }),
          new Error('deep'),
        ),
    ],
    [
      'errors of errors',
      (levels: number) =>
        Array.from({ length: levels }).reduce<Error>(
          (inner) => new AggregateError([inner], 'outer'),
          new Error('deep'),
        ),
    ],
  ])('shows %s in seven others and replaces those that are deeper', async (_name, toNested) => {
    const shown = await logOne((log) => log.info({ nested: toNested(7) }, 'text'));
    expect(JSON.stringify(shown)).toContain('deep');
    const hidden = await logOne((log) => log.info({ nested: toNested(8) }, 'text'));
    expect(JSON.stringify(hidden)).not.toContain('deep');
    expect(JSON.stringify(hidden)).toContain('"[redacted]"');
  });

  it('holds the type, the message, the stack, the code and the causes of an error', async () => {
    const cause = new AggregateError([`no ${email}`, new TypeError('b')], 'both', { cause: 'a' });
    const error = Object.assign(new RangeError(`for ${email}`, { cause }), { code: 'E' });
    const redactedStack: unknown = expect.stringMatching(/^RangeError: for \[email\]\n +at /);
    const stackOfCause: unknown = expect.stringContaining('both');
    const anyStack: unknown = expect.any(String);
    const { err } = await logOne((log) => log.error({ err: error, n: 1 }, 'text'));
    expect(err).toEqual({
      type: 'RangeError',
      message: 'for [email]',
      stack: redactedStack,
      code: 'E',
      cause: {
        type: 'AggregateError',
        message: 'both',
        stack: stackOfCause,
        cause: 'a',
        errors: ['no [email]', { type: 'TypeError', message: 'b', stack: anyStack }],
      },
    });
  });

  it('has the message of an error as its text unless the line has one', async () => {
    const err = new Error('why');
    expect(await logOne((log) => log.error(err))).toMatchObject({ msg: 'why' });
    expect(await logOne((log) => log.error({ err }))).toMatchObject({ msg: 'why' });
    expect(await logOne((log) => log.error(err, 'text'))).toMatchObject({ msg: 'text' });
    expect(await logOne((log) => log.error({ err }, 'text'))).toMatchObject({ msg: 'text' });
    const two = await logOne((log) => log.error({ err, also: 1 }));
    expect(two).toMatchObject({ err: { message: 'why' }, also: 1 });
  });
});

describe('the format of the log', () => {
  it.each([
    ['json', true, true],
    ['json', false, true],
    ['auto', true, false],
    ['auto', false, true],
    ['pretty', true, false],
    ['pretty', false, false],
  ] as const)('%s in a terminal (%s) is JSON: %s', async (format, isTerminal, isJson) => {
    let text = '';
    const log = await createLogger(
      { LOG_LEVEL: 'info', LOG_FORMAT: format },
      {
        output: {
          write: (line: string) => void (text += line),
          flush: () => Promise.resolve(true),
          dropped: () => 0,
          onResumed: () => undefined,
          holdsThread: () => false,
        },
        isTerminal,
      },
    );
    log.info('text');
    expect(text.startsWith('{')).toBe(isJson);
    expect(text).toContain('text');
  });
});
