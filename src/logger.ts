import { pino, type LogFn, type Logger } from 'pino';
import type { Config } from './config.js';
import type { Output } from './output.js';
import { redactText } from './redact.js';

export type { Logger } from 'pino';

/** Fields with these names never reach the log, at any depth. Headers and variables included. */
const secretFields = new Set(
  [
    ...['authorization', 'proxy-authorization', 'x-api-key', 'cookie', 'set-cookie', 'apiKey'],
    ...['KLAVIYO_API_KEY', 'RELAY_API_KEYS', 'RELAY_ADMIN_KEYS', 'REDIS_URL', 'password', 'secret'],
    ...['RATE_LIMIT_REDIS_URL', 'SHOPIFY_WEBHOOK_SECRETS', 'STRIPE_WEBHOOK_SECRETS'],
    ...['payload', 'body', 'email', 'phone_number', 'phone', 'first_name', 'last_name'],
    ...['properties', 'distinct_id', 'external_id', 'input', 'received'],
  ].map((name) => name.toLowerCase()),
);
const censor = '[redacted]';
/** What is nested deeper is left out. */
const maxDepth = 8;

export type LoggerOptions = {
  readonly output: Output;
  readonly isTerminal: boolean;
  /** Taken out wherever they turn up, inside of texts, too. Called at each line: there may be new ones. */
  readonly secrets?: () => readonly string[];
};

/** Readable lines in a terminal, JSON otherwise; LOG_FORMAT overrides. */
export async function createLogger(
  config: Pick<Config, 'LOG_LEVEL' | 'LOG_FORMAT'>,
  { output, isTerminal, secrets = () => [] }: LoggerOptions,
): Promise<Logger> {
  const isPretty = config.LOG_FORMAT === 'pretty' || (config.LOG_FORMAT === 'auto' && isTerminal);
  const toText = isPretty ? await createPrettyText(isTerminal) : (line: string) => line;
  let known: readonly string[] = [];
  let written: readonly string[] = [];
  const withoutSecrets = (line: string): string => {
    const now = secrets();
    if (now !== known) {
      known = now;
      written = now.flatMap((secret) => [
        JSON.stringify(secret).slice(1, -1),
        encodeURIComponent(secret),
      ]);
    }
    return written.reduce((left, secret) => left.replaceAll(secret, censor), line);
  };
  const log = pino(
    {
      level: config.LOG_LEVEL,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: {
        level: (label: string) => ({ level: label }),
        log: (fields) => toLoggedFields(fields, 0),
      },
      // The text of a line without one is that of its error.
      hooks: {
        logMethod([first, ...rest]: Parameters<LogFn>, method) {
          const error = toError(first);
          if (error === null || rest.length > 0) method.apply(this, [first, ...rest]);
          else method.apply(this, [{ err: error }, redactWords(error.message)]);
        },
      },
      serializers: { err: (error: unknown) => error },
      base: null,
    },
    { write: (line) => output.write(toText(withoutSecrets(line))) },
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

function toError(value: unknown): Error | null {
  if (value instanceof Error) return value;
  const isOfError = typeof value === 'object' && value !== null && 'err' in value;
  return isOfError && value.err instanceof Error && Object.keys(value).length === 1
    ? value.err
    : null;
}

function toLoggedFields(fields: object, depth: number): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(fields).map(([name, value]): [string, unknown] => [
      name,
      secretFields.has(name.toLowerCase()) ? censor : toLoggedValue(value, depth + 1),
    ]),
  );
}

function toLoggedValue(value: unknown, depth: number): unknown {
  if (typeof value !== 'object' || value === null) return value;
  if (depth > maxDepth) return censor;
  if (value instanceof Error) return toLoggedError(value, depth);
  if (ArrayBuffer.isView(value)) return censor;
  if (Array.isArray(value)) return value.map((each) => toLoggedValue(each, depth + 1));
  return 'toJSON' in value ? value : toLoggedFields(value, depth);
}

/** Its words and where it came from. Other fields may hold what was received or sent: they stay out. */
function toLoggedError(error: Error, depth: number): Record<string, unknown> {
  return {
    type: error.name,
    message: redactWords(error.message),
    ...('code' in error && { code: error.code }),
    ...(error.stack !== undefined && { stack: redactStack(error) }),
    ...(error.cause !== undefined && { cause: toLoggedCause(error.cause, depth + 1) }),
    ...(error instanceof AggregateError && {
      errors: error.errors.map((each) => toLoggedCause(each, depth + 1)),
    }),
  };
}

function toLoggedCause(cause: unknown, depth: number): unknown {
  return typeof cause === 'string' ? redactWords(cause) : toLoggedValue(cause, depth);
}

/** A stack begins with the message; its frames are places in the code. */
function redactStack({ stack = '', message }: Error): string {
  return stack.replace(message, () => redactWords(message));
}

const addresses = /((?<![\d.])\d{1,3}(?:\.\d{1,3}){3}(?![\d.]))/;

/** Leaves IP addresses of servers, which look like phone numbers. */
function redactWords(text: string): string {
  return text
    .split(addresses)
    .map((part, index) => (index % 2 === 1 ? part : redactText(part)))
    .join('');
}
