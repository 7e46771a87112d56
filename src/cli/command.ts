import type { Environment } from '../config.js';

export type CommandInput = { readonly args: string[]; readonly env: Environment };

/** A command of the CLI: resolves with the exit code. */
export type Command = {
  readonly summary: string;
  readonly help: string;
  run(input: CommandInput): Promise<number>;
};
