import type { Environment } from '../config/config.js';

export type CommandInput = { readonly args: string[]; readonly env: Environment };

/** A command of the CLI: resolves with the exit code. */
export type Command = {
  readonly help: string;
  run(input: CommandInput): Promise<number>;
};

/** What the list of commands shows of one, and the module that it is. */
export type CommandEntry = {
  readonly summary: string;
  readonly load: () => Promise<{ readonly command: Command }>;
};
