import { pino, type Logger } from 'pino';
import type { Config } from './config.js';

export type { Logger } from 'pino';

/** Wherever they turn up, these never reach the log. */
const secretFields = [
  'authorization',
  'apiKey',
  'KLAVIYO_API_KEY',
  'RELAY_API_KEYS',
  'RELAY_ADMIN_KEYS',
  'payload',
  'email',
  'phone_number',
];

/** Readable lines in a terminal, JSON otherwise; LOG_FORMAT overrides. Writes to stdout. */
export async function createLogger(
  config: Pick<Config, 'LOG_LEVEL' | 'LOG_FORMAT'>,
  isTerminal: boolean,
): Promise<Logger> {
  const options = {
    level: config.LOG_LEVEL,
    redact: { paths: secretFields.flatMap((field) => [field, `*.${field}`]), censor: '[redacted]' },
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (label: string) => ({ level: label }) },
    base: null,
  };
  const isPretty = config.LOG_FORMAT === 'pretty' || (config.LOG_FORMAT === 'auto' && isTerminal);
  // Synchronous: a line is out before the process can end.
  if (!isPretty) return pino(options, pino.destination({ dest: 1, sync: true }));
  // Loaded here: nobody needs it where lines are JSON.
  const { default: pretty } = await import('pino-pretty');
  return pino(
    options,
    pretty({
      colorize: isTerminal,
      translateTime: 'SYS:HH:MM:ss.l',
      ignore: 'pid,hostname',
      singleLine: true,
      sync: true,
    }),
  );
}
