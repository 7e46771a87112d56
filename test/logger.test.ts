import { describe, expect, it } from 'vitest';
import { createLogger, type Logger } from '../src/logger.js';

type Format = 'json' | 'pretty';

/** The real logger, and what it wrote. */
async function open(format: Format, secrets: readonly string[] = []) {
  let text = '';
  const output = {
    write: (line: string) => void (text += line),
    flush: () => Promise.resolve(true),
    dropped: () => 0,
    onResumed: () => undefined,
    holdsThread: () => false,
  };
  const log = await createLogger(
    { LOG_LEVEL: 'trace', LOG_FORMAT: format },
    { output, isTerminal: false, secrets: () => secrets },
  );
  return { log, text: () => text };
}

const email = 'ada.lovelace@klaviyo-demo.com';
const phone = '+15005550006';
const key = 'pk_0123456789abcdef';

const withCause = (message: string): Error =>
  new Error('the request failed', { cause: new Error(message) });

const leaks: Readonly<Record<string, (log: Logger) => void>> = {
  'a field': (log) => log.info({ email, phone_number: phone, apiKey: key }, 'text'),
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
    for (const secret of [email, 'ada.lovelace', phone, '15005550006', key]) {
      expect(text()).not.toContain(secret);
    }
    expect(text()).not.toContain(JSON.stringify([...Buffer.from(email)]).slice(1, 30));
  });

  it('holds no configured secret, in whatever text or form it turns up', async () => {
    const secret = 'a "long" secret/1';
    const { log, text } = await open(format, [secret]);
    log.warn({ url: `redis://:${encodeURIComponent(secret)}@h`, why: secret }, `with ${secret}`);
    expect(text()).not.toContain('long');
    expect(text()).toContain('[redacted]');
  });

  it('holds where an error came from, its code, and the address of a server', async () => {
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
