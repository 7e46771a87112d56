import type { Environment } from '../config.js';
import type { CommandEntry } from './command.js';
import { version } from './version.js';

/** Each is loaded when it is asked for: all of them take a second, most need a fraction of it. */
const commands: Readonly<Record<string, CommandEntry>> = {
  start: {
    summary: 'run the relay (the default)',
    load: async () => (await import('./start.js')).runStart,
  },
  sandbox: {
    summary: 'run a local stand-in for Klaviyo',
    load: async () => (await import('./sandbox.js')).runSandbox,
  },
  check: {
    summary: 'validate the configuration, and the key against Klaviyo',
    load: async () => (await import('./check.js')).runCheck,
  },
  import: {
    summary: 'post a history of events or profiles to a running relay',
    load: async () => (await import('./import.js')).runImportCommand,
  },
  store: {
    summary: 'check or export the journal of a stopped relay',
    load: async () => (await import('./store.js')).runStore,
  },
  demo: {
    summary: 'see it work: a relay, a local Klaviyo and a day of a shop',
    load: async () => (await import('./demo.js')).runDemo,
  },
};

const usage = `klaviyo-relay ${version}: takes events and profiles over HTTP, keeps them safe, and delivers them to Klaviyo.

Usage: klaviyo-relay [command] [options]

Commands:
${Object.entries(commands)
  .map(([name, { summary }]) => `  ${name.padEnd(9)} ${summary}`)
  .join('\n')}

klaviyo-relay COMMAND --help tells more. Settings are environment variables: see the README or .env.example.
`;

/** Resolves with the exit code: 0 fine, 1 failed, 2 not a command that exists. */
export async function runCommand(argv: readonly string[], env: Environment): Promise<number> {
  const [first = 'start', ...rest] = argv;
  if (first === '--help' || first === '-h' || first === 'help') return print(usage);
  if (first === '--version' || first === '-v') return print(`${version}\n`);
  const [name, args] = first.startsWith('-') ? ['start', [...argv]] : [first, rest];
  const entry = commands[name];
  if (entry === undefined) {
    process.stderr.write(`klaviyo-relay: there is no command "${name}"\n\n${usage}`);
    return 2;
  }
  try {
    const command = await entry.load();
    if (args.includes('--help') || args.includes('-h')) return print(command.help);
    return await command.run({ args, env });
  } catch (error) {
    process.stderr.write(
      `klaviyo-relay: ${error instanceof Error ? error.message : String(error)}\n`,
    );
    return 1;
  }
}

function print(text: string): number {
  process.stdout.write(text);
  return 0;
}
