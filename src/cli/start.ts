import { randomUUID } from 'node:crypto';
import { startApp } from '../app/app.js';
import { systemClock } from '../clock.js';
import {
  ConfigError,
  findMisspeltVariables,
  loadConfig,
  type Config,
  type Environment,
} from '../config/config.js';
import { createLogger } from '../log/logger.js';
import { createSecretFilter, redactMessage } from '../log/redact.js';
import { listSourceSecrets } from '../sources/list.js';
import { StuckError } from '../store/journal/commit-error.js';
import { readArguments } from './arguments.js';
import type { Command } from './command.js';
import { withEnvFile } from './environment.js';
import { openOutputs, runService } from './service.js';
import { version } from './version.js';

const help = `Usage: klaviyo-relay start [options]

Runs the relay until SIGTERM or SIGINT stops it. A second signal ends the process at once.
Requires KLAVIYO_API_KEY. Settings are environment variables; the file .env in the working directory adds
those that are not set. On SIGHUP the relay reads key files and MAPPING_FILE again.

  --host HOST      address to listen on; overrides HOST
  --port PORT      port to listen on; overrides PORT
  --data-dir DIR   directory of the journal; overrides DATA_DIR

To try it without a Klaviyo account:

  klaviyo-relay sandbox --port 4000 &
  KLAVIYO_API_KEY=pk_demo KLAVIYO_BASE_URL=http://127.0.0.1:4000 klaviyo-relay start

Then:

  curl -X POST http://127.0.0.1:3000/v1/events -H 'content-type: application/json' \\
    -d '{"event_name":"Placed Order","email":"sam@klaviyo-demo.com","value":29.98,"currency":"USD"}'
`;

/** Runs the relay and resolves when it has stopped. */
export const startCommand: Command = {
  help,
  async run({ args, env }) {
    const settings = readSettings(args, env);
    const config = readConfig(settings);
    return config === null ? 1 : untilStopped(config, settings);
  },
};

export const startOptions = {
  host: { type: 'string' },
  port: { type: 'string' },
  'data-dir': { type: 'string' },
} as const;

/**
 * The settings of `start`: options take precedence over the environment, and the environment over
 * .env.
 */
function readSettings(args: readonly string[], env: Environment): Environment {
  const { values } = readArguments({ args, options: startOptions });
  return withStartOptions(withEnvFile(env), values);
}

type StartOptions = { readonly [name in keyof typeof startOptions]?: string | undefined };

export function withStartOptions(env: Environment, options: StartOptions): Environment {
  const { host = env.HOST, port = env.PORT, 'data-dir': directory = env.DATA_DIR } = options;
  return { ...env, HOST: host, PORT: port, DATA_DIR: directory };
}

/** Returns null if the configuration is invalid, after printing the reasons to stderr. */
export function readConfig(env: Parameters<typeof loadConfig>[0]): Config | null {
  try {
    return loadConfig(env);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    process.stderr.write(`klaviyo-relay: ${error.message}\n`);
    return null;
  }
}

async function untilStopped(config: Config, settings: Environment): Promise<number> {
  const outputs = openOutputs(systemClock);
  const { stdout } = outputs;
  const isTerminal = process.stdout.isTTY;
  let secrets = listSecrets(config);
  const log = await createLogger(config, {
    output: stdout,
    isTerminal,
    secrets: () => secrets,
  });
  for (const { name, meant } of findMisspeltVariables(settings))
    log.warn(`nothing reads ${name}; did you mean ${meant}?`);
  const withoutSecrets = createSecretFilter(() => secrets);
  let isStarted = false;
  return runService({
    ...outputs,
    clock: systemClock,
    redact: (reason) => redactMessage(withoutSecrets(reason)),
    stopLimitMs: config.SHUTDOWN_TIMEOUT_MS + 2000,
    async start({ signal, fail }) {
      const app = await startApp({
        config,
        clock: systemClock,
        random: Math.random,
        newId: randomUUID,
        log,
        version,
        droppedLogLines: () => stdout.dropped(),
        onFatal: fail,
        signal,
      });
      isStarted = true;
      return app;
    },
    onEnd(end) {
      if ('signal' in end) log.info({ signal: end.signal }, 'stopping after a signal');
      else log.fatal({ err: end.error }, isStarted ? endedByFault : 'the start failed');
    },
    onHangup(app) {
      try {
        const next = loadConfig(settings);
        // Earlier secrets stay secret.
        secrets = [...new Set([...secrets, ...listSecrets(next)])];
        const { changed, kept } = app.reload(next);
        log.info({ changed }, 'key files and MAPPING_FILE were read again');
        for (const reason of kept) log.warn(reason);
      } catch (error) {
        if (!(error instanceof ConfigError)) throw error;
        log.error(
          { problems: error.problems },
          'key files and MAPPING_FILE were read again and are invalid: the previous values stay in use',
        );
      }
    },
    isStuck: (error) => error instanceof StuckError,
  });
}

/** Every secret of the configuration, in the form in which it would appear in a text. */
function listSecrets(config: Config): readonly string[] {
  return [
    config.KLAVIYO_API_KEY,
    ...config.RELAY_API_KEYS,
    ...config.RELAY_ADMIN_KEYS,
    ...listSourceSecrets(config),
    ...[config.REDIS_URL?.password, config.RATE_LIMIT_REDIS_URL?.password],
    config.REDIS_SENTINEL_PASSWORD,
    ...[config.HTTPS_PROXY, config.HTTP_PROXY].map(
      (url) => url && decodeURIComponent(new URL(url).password),
    ),
  ].filter((secret): secret is string => secret !== undefined && secret !== '');
}

const endedByFault = 'the relay ends because of a fault of its own, of its store or of its machine';
