import { readInfo } from './durability.js';
import {
  UnavailableError,
  UnreplicatedError,
  type RedisConnection,
  type ReplicatedCall,
  type RedisReply,
  type Script,
} from './connection.js';
import { readReplicaCount, toWaitArguments, type WaitCommand } from './replica-wait.js';

export type ReplicatedWritesOptions = {
  /** A connection for these writes alone, because a wait for replicas delays every later command on it. */
  readonly connection: RedisConnection;
  /** Number of replicas that must have a write. */
  readonly replicas: number;
  /** Longest wait for the replicas. */
  readonly waitMs: number;
};

/**
 * Runs scripts that succeed only when enough replicas have what they wrote, so that a failover to one of them
 * loses nothing. A repeated write waits, too, because the first one may not have reached them yet.
 */
export class ReplicatedWrites {
  readonly #options: ReplicatedWritesOptions;
  readonly #stopListening: () => void;
  /** The command that the server of this connection supports. */
  #command: Promise<WaitCommand> | null = null;
  /** Why writes are rejected at once: replicas are missing. Null while enough replicas answer. */
  #missing: string | null = null;
  /** The newest write. Writes run one after another: one that waits in the server would look like a hang. */
  #last: Promise<undefined> = Promise.resolve(undefined);
  #rechecking: Promise<void> | null = null;

  constructor(options: ReplicatedWritesOptions) {
    this.#options = options;
    this.#stopListening = options.connection.onChange(() => (this.#command = null));
  }

  /** Why replicated writes fail; null if no reason is known. */
  outage(): string | null {
    return this.#options.connection.failure()?.why ?? this.#missing;
  }

  /** Rejects with UnreplicatedError if the primary has the write and too few replicas have it. */
  run(script: Script, prefix: string, args: ReplicatedCall['args']): Promise<RedisReply> {
    return this.#runInTurn(() => {
      // Each write would wait in vain. `recheck` finds out when the replicas are back.
      if (this.#missing !== null) throw new UnreplicatedError(this.#missing);
      return this.#write(script, prefix, args);
    });
  }

  /** Checks whether missing replicas are back. Resolves also if the server cannot be asked now. */
  recheck(): Promise<void> {
    if (this.#missing === null) return Promise.resolve();
    this.#rechecking ??= this.#runInTurn(() => this.#recheck()).finally(
      () => (this.#rechecking = null),
    );
    return this.#rechecking;
  }

  /**
   * Checks this connection after another one was made anew. A node of a cluster that is no longer the primary
   * keeps its connections, and replies with an error only to a command with a key.
   */
  async verify(key: string): Promise<void> {
    await this.#options.connection.call('EXISTS', key).catch((error: unknown) => {
      if (!(error instanceof UnavailableError)) throw error;
    });
  }

  close(): Promise<void> {
    this.#stopListening();
    return this.#options.connection.close();
  }

  #runInTurn<T>(act: () => Promise<T>): Promise<T> {
    const done = this.#last.then(act);
    this.#last = done.then(
      () => undefined,
      () => undefined,
    );
    return done;
  }

  async #write(script: Script, prefix: string, args: ReplicatedCall['args']): Promise<RedisReply> {
    const { connection, replicas, waitMs: ms } = this.#options;
    try {
      const command = await this.#selectWaitCommand();
      const reply = await connection.runReplicated(script, { prefix, args, command, replicas, ms });
      this.#missing = null;
      return reply;
    } catch (error) {
      if (error instanceof UnreplicatedError) this.#missing = error.why;
      throw error;
    }
  }

  async #recheck(): Promise<void> {
    const { connection, replicas, waitMs } = this.#options;
    if (this.#missing === null || !connection.isUp()) return;
    try {
      const command = await this.#selectWaitCommand();
      const ms = Math.ceil(waitMs / 2);
      const reply = await connection.call(command, ...toWaitArguments(command, { replicas, ms }));
      if (readReplicaCount(reply) >= replicas) this.#missing = null;
    } catch (error) {
      if (!(error instanceof UnavailableError)) throw error;
    }
  }

  #selectWaitCommand(): Promise<WaitCommand> {
    const command = this.#command ?? findWaitCommand(this.#options.connection);
    this.#command = command;
    command.catch(() => (this.#command = null));
    return command;
  }
}

/** WAITAOF waits until replicas have written to their disks; it needs Redis 7.2 and an append-only file. */
async function findWaitCommand(connection: RedisConnection): Promise<WaitCommand> {
  const info = await readInfo(connection);
  const [, major = 0, minor = 0] = /^(\d+)\.(\d+)/.exec(info.get('redis_version') ?? '') ?? [];
  const isNew = Number(major) > 7 || (Number(major) === 7 && Number(minor) >= 2);
  return isNew && info.get('aof_enabled') === '1' ? 'WAITAOF' : 'WAIT';
}
