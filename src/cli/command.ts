import type { Environment } from '../config/config.js';

export type CommandInput = { readonly args: string[]; readonly env: Environment };

/** A command of the command line. `run` resolves with the exit code. */
export type Command = {
  readonly help: string;
  run(input: CommandInput): Promise<number>;
};

/** The entry of a command in the list, and how to load its module. */
export type CommandEntry = {
  readonly summary: string;
  readonly load: () => Promise<Command>;
};
