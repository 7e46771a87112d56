import { pino, type LogFn, type Logger } from 'pino';
import type { Config } from '../config/config.js';
import type { Output } from './output.js';
import { createSecretFilter, redactMessage } from './redact.js';

export type { Logger } from 'pino';

/** Fields with these names never reach the log, at any depth. Headers and variables included. */
const secretFields = new Set(
  [
    ...['authorization', 'proxy-authorization', 'x-api-key', 'cookie', 'set-cookie', 'apiKey'],
    ...['KLAVIYO_API_KEY', 'RELAY_API_KEYS', 'RELAY_ADMIN_KEYS', 'REDIS_URL', 'password', 'secret'],
    ...['RATE_LIMIT_REDIS_URL', 'REDIS_SENTINEL_PASSWORD'],
    ...['payload', 'body', 'email', 'phone_number', 'phone', 'first_name', 'last_name'],
    ...['properties', 'distinct_id', 'external_id', 'anonymous_id', 'input', 'received'],
  ].map((name) => name.toLowerCase()),
);
/** Settings that hold the secrets of a source all end in this. */
const isSecretField = (name: string): boolean =>
  secretFields.has(name) || name.endsWith('_webhook_secrets');
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
  const withoutSecrets = createSecretFilter(secrets);
  // Secrets first: the rest of one whose digits were taken out would not be found.
  const redact: Redact = (text) => redactMessage(withoutSecrets(text));
  const log = pino(
    {
      level: config.LOG_LEVEL,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: {
        level: (label: string) => ({ level: label }),
        log: (fields) => toLoggedFields(fields, { depth: 0, redact }),
      },
      // The text of a line without one is that of its error.
      hooks: {
        logMethod([first, ...rest]: Parameters<LogFn>, method) {
          const error = toError(first);
          if (error === null || rest.length > 0) method.apply(this, [first, ...rest]);
          else method.apply(this, [{ err: error }, redact(error.message)]);
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

type Redact = (text: string) => string;
type Place = { readonly depth: number; readonly redact: Redact };

function toLoggedFields(fields: object, { depth, redact }: Place): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(fields).map(([name, value]): [string, unknown] => [
      name,
      isSecretField(name.toLowerCase())
        ? censor
        : toLoggedValue(value, { depth: depth + 1, redact }),
    ]),
  );
}

function toLoggedValue(value: unknown, place: Place): unknown {
  if (typeof value !== 'object' || value === null) return value;
  const { depth, redact } = place;
  if (depth > maxDepth) return censor;
  if (value instanceof Error) return toLoggedError(value, place);
  if (ArrayBuffer.isView(value)) return censor;
  if (Array.isArray(value))
    return value.map((each) => toLoggedValue(each, { depth: depth + 1, redact }));
  return 'toJSON' in value ? value : toLoggedFields(value, place);
}

/** Its words and where it came from. Other fields may hold what was received or sent: they stay out. */
function toLoggedError(error: Error, { depth, redact }: Place): Record<string, unknown> {
  const inside = { depth: depth + 1, redact };
  return {
    type: error.name,
    message: redact(error.message),
    ...('code' in error && { code: error.code }),
    ...(error.stack !== undefined && { stack: redactStack(error, redact) }),
    ...(error.cause !== undefined && { cause: toLoggedCause(error.cause, inside) }),
    ...(error instanceof AggregateError && {
      errors: error.errors.map((each) => toLoggedCause(each, inside)),
    }),
  };
}

function toLoggedCause(cause: unknown, place: Place): unknown {
  return typeof cause === 'string' ? place.redact(cause) : toLoggedValue(cause, place);
}

/** A stack begins with the message; its frames are places in the code. */
function redactStack({ stack = '', message }: Error, redact: Redact): string {
  return stack.replace(message, () => redact(message));
}
