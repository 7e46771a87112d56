import { StoreUnavailableError } from '../model/store.js';
import { createHash } from 'node:crypto';
import type { RedisFailure } from './failures.js';
import type { WaitCommand } from './replica-wait.js';

/**
 * A Lua script (load-script.ts). An error that a script raises begins with `RELAY_`; any other comes from the server.
 *
 * `KEYS[1]` is the prefix with the hash tag; Redis has no key of that name. The names of all keys that
 * the script may use follow, so that a cluster rejects the script (TRYAGAIN) while it moves the slot and
 * the keys are on two nodes.
 */
export type Script = {
  readonly name: string;
  readonly lua: string;
  readonly sha: string;
  /** What follows the prefix in the name of each key. */
  readonly keys: readonly string[];
};

export function toScript(name: string, keys: readonly string[], lua: string): Script {
  return { name, keys, lua, sha: createHash('sha1').update(lua).digest('hex') };
}

/** A reply of the server; bulk strings are buffers. */
export type RedisReply = number | string | Buffer | null | readonly RedisReply[];

/** The server cannot be reached, hangs, or rejects a command. The command may or may not have taken effect. */
export class UnavailableError extends StoreUnavailableError {
  readonly why: string;
  /** The error that the server replied with; null if it did not reply. */
  readonly reply: string | null;

  constructor(why: string, reply: string | null = null) {
    super(`Redis is not available: ${why}`);
    this.name = 'UnavailableError';
    this.why = why;
    this.reply = reply;
  }
}

/** Returns true if the error concerns the server and not the command: every command fails for now. */
export function isUnable(reply: string): boolean {
  return /^(READONLY|LOADING|MASTERDOWN|CLUSTERDOWN|MOVED|ASK|TRYAGAIN|OOM|MISCONF|NOREPLICAS|NOAUTH|UNBLOCKED|BUSY)\b/.test(
    reply,
  );
}

/** Too few replicas confirmed a write in time. The primary has it, and may lose it at a failover. */
export class UnreplicatedError extends UnavailableError {
  constructor(why: string) {
    super(why);
    this.name = 'UnreplicatedError';
  }
}

/** A script of the relay raised an error (`code` is `RELAY_…`) or has a bug (`code` is `LUA`). */
export class ScriptError extends Error {
  readonly code: string;

  constructor(code: string, message: string) {
    super(message);
    this.name = 'ScriptError';
    this.code = code;
  }
}

/** A setting is wrong and stays wrong however long the relay waits: the relay must not start with it. */
export class SettingError extends Error {
  constructor(setting: string, why: string) {
    super(`${setting}: ${why}`);
    this.name = 'SettingError';
  }
}

export type ReplicatedCall = {
  readonly prefix: string;
  readonly args: readonly (string | number | Uint8Array)[];
  readonly command: WaitCommand;
  readonly replicas: number;
  readonly ms: number;
};

/** One connection to Redis or Valkey, which the parts of the relay share. */
export type RedisConnection = {
  /** False while the server cannot be used: every call rejects at once, and nothing is queued. */
  isUp(): boolean;
  /** Why the connection is down; null while it is up. */
  failure(): RedisFailure | null;
  /** Calls the listener when the connection comes up and goes down. Returns a function that removes it. */
  onChange(listener: (isUp: boolean) => void): () => void;
  /** Calls the listener with each new reason why the connection is down. Returns a function that removes it. */
  onFailure(listener: (failure: RedisFailure) => void): () => void;
  /** Rejects with UnavailableError if the server cannot run the script, and with ScriptError for an error of the script. */
  run(
    script: Script,
    prefix: string,
    args: readonly (string | number | Uint8Array)[],
  ): Promise<RedisReply>;
  /**
   * Like `run`, but resolves only when `replicas` replicas have what the script wrote and everything before it.
   * Rejects with UnreplicatedError after `ms`. The connection runs nothing else meanwhile.
   */
  runReplicated(script: Script, call: ReplicatedCall): Promise<RedisReply>;
  /** Runs any other command, with the same errors. */
  call(command: string, ...args: readonly (string | number)[]): Promise<RedisReply>;
  /** Resolves when the connection is up, when its failure is certain, or after `ms`; true if it is up. */
  untilUp(ms: number): Promise<boolean>;
  close(): Promise<void>;
};
