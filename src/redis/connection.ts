import { StoreUnavailableError } from '../model/store.js';
import { createHash } from 'node:crypto';
import type { RedisFailure } from './failures.js';
import type { WaitCommand } from './replica-wait.js';

/**
 * A Lua script. An error that it raises by itself begins with `RELAY_`: every other one is the server's.
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

/** Bulk strings are buffers. */
export type RedisReply = number | string | Buffer | null | readonly RedisReply[];

/** The server is away, hangs, or does not do what it is asked: nothing is known of what was asked for. */
export class UnavailableError extends StoreUnavailableError {
  readonly why: string;
  /** The server's own words, where it answered with an error. */
  readonly reply: string | null;

  constructor(why: string, reply: string | null = null) {
    super(`Redis is not available: ${why}`);
    this.name = 'UnavailableError';
    this.why = why;
    this.reply = reply;
  }
}

/** Whether the server says of itself that it can do nothing for the moment: every command gets the same answer. */
export function isUnable(reply: string): boolean {
  return /^(READONLY|LOADING|MASTERDOWN|CLUSTERDOWN|MOVED|ASK|TRYAGAIN|OOM|MISCONF|NOREPLICAS|NOAUTH|UNBLOCKED|BUSY)\b/.test(
    reply,
  );
}

/** Too few replicas had in time what was written. The server has it, and may lose it at a failover. */
export class UnreplicatedError extends UnavailableError {
  constructor(why: string) {
    super(why);
    this.name = 'UnreplicatedError';
  }
}

/** One of our own scripts raised it, or broke off: `code` is `RELAY_…`, or `LUA` for a fault of the script. */
export class ScriptError extends Error {
  readonly code: string;

  constructor(code: string, message: string) {
    super(message);
    this.name = 'ScriptError';
    this.code = code;
  }
}

/** A setting is wrong, and no waiting makes it right: the relay must not start with it. */
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

/** One connection to Redis or Valkey that many parts share. */
export type RedisConnection = {
  /** False while nothing can be asked: every `run` is refused at once, and nothing is queued. */
  isUp(): boolean;
  /** Why it is not up; null while it is up. */
  failure(): RedisFailure | null;
  /** Called when it comes up and when it goes down. Returns the way to stop. */
  onChange(listener: (isUp: boolean) => void): () => void;
  /** Called with each new reason why it is down. Returns the way to stop. */
  onFailure(listener: (failure: RedisFailure) => void): () => void;
  /** Rejects with UnavailableError where the server is away, slow or unable, and with ScriptError for what the script raised. */
  run(
    script: Script,
    prefix: string,
    args: readonly (string | number | Uint8Array)[],
  ): Promise<RedisReply>;
  /**
   * As `run`; resolves only once `replicas` of them have what the script wrote and everything before it,
   * and rejects with UnreplicatedError after `ms`. The connection does nothing else meanwhile.
   */
  runReplicated(script: Script, call: ReplicatedCall): Promise<RedisReply>;
  /** Any other command, alike. */
  call(command: string, ...args: readonly (string | number)[]): Promise<RedisReply>;
  /** Resolves once it is up, once it is certain that it never will be, or after `ms`; true where it is up. */
  untilUp(ms: number): Promise<boolean>;
  close(): Promise<void>;
};
