import { createHash } from 'node:crypto';

/** A Lua script. Every name it touches begins with its one key, which carries the hash tag. */
export type Script = { readonly name: string; readonly lua: string; readonly sha: string };

export function toScript(name: string, lua: string): Script {
  return { name, lua, sha: createHash('sha1').update(lua).digest('hex') };
}

/** Bulk strings are buffers. */
export type Reply = number | string | Buffer | null | readonly Reply[];

/** The server is away, hangs, or cannot write: nothing is known of what was asked for. */
export class UnavailableError extends Error {
  constructor(why: string, cause?: unknown) {
    super(`Redis is not available: ${why}`, { cause });
    this.name = 'UnavailableError';
  }
}

/** One connection to Redis or Valkey that many parts share. */
export type Link = {
  /** False while nothing can be asked: every `run` is refused at once, and nothing is queued. */
  isUp(): boolean;
  /** Told when it comes up and when it goes down. Returns the way to stop. */
  onChange(listener: (isUp: boolean) => void): () => void;
  /** Rejects with UnavailableError where the server is away, slow or unable, and with what the script raised. */
  run(script: Script, key: string, args: readonly (string | number | Uint8Array)[]): Promise<Reply>;
  /** Any other command, alike. */
  call(command: string, ...args: readonly (string | number)[]): Promise<Reply>;
  /** Resolves once it is up, or after `ms`; tells which. */
  untilUp(ms: number): Promise<boolean>;
  close(): Promise<void>;
};
