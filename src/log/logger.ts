import { pino, type LogFn, type Logger } from 'pino';
import type { Config } from '../config/config.js';
import type { Output } from './output.js';
import { createSecretFilter, redactMessage } from './redact.js';

export type { Logger } from 'pino';

/** Values of fields with these names are never logged, at any depth. The list has fields, HTTP headers and environment variables. */
const secretFields = new Set(
  [
    ...['authorization', 'proxy-authorization', 'x-api-key', 'cookie', 'set-cookie', 'apiKey'],
    ...['KLAVIYO_API_KEY', 'RELAY_API_KEYS', 'RELAY_ADMIN_KEYS', 'REDIS_URL', 'password', 'secret'],
    ...['RATE_LIMIT_REDIS_URL', 'REDIS_SENTINEL_PASSWORD'],
    ...['payload', 'body', 'email', 'phone_number', 'phone', 'first_name', 'last_name'],
    ...['properties', 'distinct_id', 'external_id', 'anonymous_id', 'input', 'received'],
  ].map((name) => name.toLowerCase()),
);
/** Every setting with the secrets of a source has this ending. */
const isSecretField = (name: string): boolean =>
  secretFields.has(name) || name.endsWith('_webhook_secrets');
const censor = '[redacted]';
/** Values that are nested deeper are not logged. */
const maxDepth = 8;

export type LoggerOptions = {
  readonly output: Output;
  readonly isTerminal: boolean;
  /** The secrets to remove from every line, inside texts as well. Called for each line, since a reload can add secrets. */
  readonly secrets?: () => readonly string[];
};

/** Readable lines in a terminal, JSON otherwise; LOG_FORMAT overrides. */
export async function createLogger(
  config: Pick<Config, 'LOG_LEVEL' | 'LOG_FORMAT'>,
  { output, isTerminal, secrets = () => [] }: LoggerOptions,
): Promise<Logger> {
  const isPretty = config.LOG_FORMAT === 'pretty' || (config.LOG_FORMAT === 'auto' && isTerminal);
  const format = isPretty ? await createPrettyFormat(isTerminal) : (line: string) => line;
  const withoutSecrets = createSecretFilter(secrets);
  // Secrets are removed first: after the digits of a secret are redacted, the secret would not be found.
  const redact: Redact = (text) => redactMessage(withoutSecrets(text));
  const log = pino(
    {
      level: config.LOG_LEVEL,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: {
        level: (label: string) => ({ level: label }),
        log: (fields) => toLoggedFields(fields, { depth: 0, redact }),
      },
      // A line that has only an error gets the message of the error as its text.
      hooks: {
        logMethod([first, ...rest]: Parameters<LogFn>, method) {
          const error = findError(first);
          if (error === null || rest.length > 0) method.apply(this, [first, ...rest]);
          else method.apply(this, [{ err: error }, redact(error.message)]);
        },
      },
      serializers: { err: (error: unknown) => error },
      base: null,
    },
    { write: (line) => output.write(format(withoutSecrets(line))) },
  );
  output.onResumed((dropped) =>
    log.warn({ dropped }, `${dropped} log lines were dropped: the log could not be written`),
  );
  return log;
}

async function createPrettyFormat(colorize: boolean): Promise<(line: string) => string> {
  // Loaded on demand: JSON lines do not need it.
  const { prettyFactory } = await import('pino-pretty');
  return prettyFactory({
    colorize,
    translateTime: 'SYS:HH:MM:ss.l',
    ignore: 'pid,hostname',
    singleLine: true,
  });
}

function findError(value: unknown): Error | null {
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

/** The name, message, code, stack and causes of an error. Other fields can hold received data, and are not logged. */
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

/** Redacts the message at the beginning of a stack. The frames contain only places in the code. */
function redactStack({ stack = '', message }: Error, redact: Redact): string {
  return stack.replace(message, () => redact(message));
}
