import { pino, type Logger } from 'pino';
import type { Config } from './config.js';
import type { Output } from './output.js';

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

export type LoggerOptions = {
  readonly output: Output;
  readonly isTerminal: boolean;
};

/** Readable lines in a terminal, JSON otherwise; LOG_FORMAT overrides. */
export async function createLogger(
  config: Pick<Config, 'LOG_LEVEL' | 'LOG_FORMAT'>,
  { output, isTerminal }: LoggerOptions,
): Promise<Logger> {
  const isPretty = config.LOG_FORMAT === 'pretty' || (config.LOG_FORMAT === 'auto' && isTerminal);
  const toText = isPretty ? await createPrettyText(isTerminal) : (line: string) => line;
  const log = pino(
    {
      level: config.LOG_LEVEL,
      redact: {
        paths: secretFields.flatMap((field) => [field, `*.${field}`]),
        censor: '[redacted]',
      },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label: string) => ({ level: label }) },
      base: null,
    },
    { write: (line) => output.write(toText(line)) },
  );
  output.onResumed((dropped) =>
    log.warn({ dropped }, `${dropped} log lines were dropped: the log could not be written`),
  );
  return log;
}

async function createPrettyText(colorize: boolean): Promise<(line: string) => string> {
  // Loaded here: nobody needs it where lines are JSON.
  const { prettyFactory } = await import('pino-pretty');
  return prettyFactory({
    colorize,
    translateTime: 'SYS:HH:MM:ss.l',
    ignore: 'pid,hostname',
    singleLine: true,
  });
}
