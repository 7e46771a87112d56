import type { Environment } from '../config.js';
import type { Command } from './command.js';
import { runCheck } from './check.js';
import { runDemo } from './demo.js';
import { runImportCommand } from './import.js';
import { runSandbox } from './sandbox.js';
import { runStart } from './start.js';
import { runStore } from './store.js';
import { version } from './version.js';

const commands: Readonly<Record<string, Command>> = {
  start: runStart,
  sandbox: runSandbox,
  check: runCheck,
  import: runImportCommand,
  store: runStore,
  demo: runDemo,
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
  const command = commands[name];
  if (command === undefined) {
    process.stderr.write(`klaviyo-relay: there is no command "${name}"\n\n${usage}`);
    return 2;
  }
  if (args.includes('--help') || args.includes('-h')) return print(command.help);
  try {
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
