import type { Environment } from '../config/config.js';
import { findNearName } from '../near-name.js';
import { createSecretFilter, redactMessage } from '../log/redact.js';
import { suggest, UsageError } from './arguments.js';
import type { CommandEntry } from './command.js';
import { isClosedPipe } from './outputs.js';
import { version } from './version.js';
import { toErrorMessage } from '../error.js';

/**
 * Each module is loaded on demand: loading all takes a second, and most commands need a fraction of
 * it.
 */
const commands: Readonly<Record<string, CommandEntry>> = {
  start: {
    summary: 'run the relay (the default)',
    load: async () => (await import('./start.js')).startCommand,
  },
  sandbox: {
    summary: "run a local simulation of Klaviyo's API",
    load: async () => (await import('./sandbox.js')).sandboxCommand,
  },
  check: {
    summary: 'check the configuration, and the key at Klaviyo',
    load: async () => (await import('./check.js')).checkCommand,
  },
  map: {
    summary: 'show what one input would become, without sending it',
    load: async () => (await import('./map.js')).mapCommand,
  },
  import: {
    summary: 'post a history of events or profiles to a running relay',
    load: async () => (await import('./import.js')).importCommand,
  },
  store: {
    summary: 'check or export the journal of a stopped relay',
    load: async () => (await import('./store.js')).storeCommand,
  },
  demo: {
    summary: 'run a relay and the sandbox with a day of a shop',
    load: async () => (await import('./demo.js')).demoCommand,
  },
};

const usage = `klaviyo-relay ${version}: accepts events and profiles over HTTP, stores them safely, and delivers them to Klaviyo.

Usage: klaviyo-relay [command] [options]

Commands:
${Object.entries(commands)
  .map(([name, { summary }]) => `  ${name.padEnd(9)} ${summary}`)
  .join('\n')}

klaviyo-relay COMMAND --help describes a command. Settings are environment variables: see the README or .env.example.
`;

/** Resolves with the exit code: 0 success, 1 failure, 2 unknown command or invalid arguments. */
export async function runCommand(argv: readonly string[], env: Environment): Promise<number> {
  const [first = 'start', ...rest] = argv;
  if (first === '--help' || first === '-h' || first === 'help') return printHelp(usage);
  if (first === '--version' || first === '-v') return printHelp(`${version}\n`);
  const [name, args] = first.startsWith('-') ? ['start', [...argv]] : [first, rest];
  const entry = commands[name];
  if (entry === undefined) {
    const near = suggest(findNearName(name, Object.keys(commands)));
    process.stderr.write(`klaviyo-relay: unknown command "${name}"${near}\n\n${usage}`);
    return 2;
  }
  try {
    const command = await entry.load();
    if (args.includes('--help') || args.includes('-h')) return printHelp(command.help);
    return await command.run({ args, env }).catch((error: unknown) => {
      if (!(error instanceof UsageError)) throw error;
      const [form = ''] = command.help.split('\n');
      const more = `klaviyo-relay ${name} --help describes this command.`;
      process.stderr.write(`klaviyo-relay: ${error.message}\n\n${form}\n${more}\n`);
      return 2;
    });
  } catch (error) {
    if (isClosedPipe(error)) return 1;
    const reason = toErrorMessage(error);
    const { findSecrets } = await import('../config/config.js');
    const secrets = findSecrets(env);
    const withoutSecrets = createSecretFilter(() => secrets);
    process.stderr.write(`klaviyo-relay: ${redactMessage(withoutSecrets(reason))}\n`);
    return 1;
  }
}

function printHelp(text: string): number {
  process.stdout.write(text);
  return 0;
}
