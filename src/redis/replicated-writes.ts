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
  /** For these writes alone: a wait for replicas holds up whatever else is sent on a connection. */
  readonly connection: RedisConnection;
  /** How many have to have it. */
  readonly replicas: number;
  /** Longest wait for them. */
  readonly waitMs: number;
};

/**
 * Runs scripts that count as done only once enough replicas have what they wrote, so that a failover
 * to one of them does not lose it. A repeated write waits, too: what it repeats may not be there yet.
 */
export class ReplicatedWrites {
  readonly #options: ReplicatedWritesOptions;
  readonly #stopListening: () => void;
  /** How replicas are waited for, as the server of this connection can. */
  #command: Promise<WaitCommand> | null = null;
  /** Why replicas are not waited for; null while they answer. */
  #missing: string | null = null;
  /** The newest write: the server runs one at a time on this connection, and a queue there would count as a hang. */
  #last: Promise<undefined> = Promise.resolve(undefined);
  #rechecking: Promise<void> | null = null;

  constructor(options: ReplicatedWritesOptions) {
    this.#options = options;
    this.#stopListening = options.connection.onChange(() => (this.#command = null));
  }

  /** Why nothing can be written so; null where it can, as far as is known. */
  trouble(): string | null {
    return this.#options.connection.failure()?.why ?? this.#missing;
  }

  /** Rejects with UnreplicatedError where the server has it, and too few replicas. */
  run(script: Script, prefix: string, args: ReplicatedCall['args']): Promise<RedisReply> {
    return this.#runInTurn(() => {
      // Each would wait in vain; `recheck` finds out when they are back.
      if (this.#missing !== null) throw new UnreplicatedError(this.#missing);
      return this.#write(script, prefix, args);
    });
  }

  /** Asks whether replicas are back that were missing. Resolves also where that cannot be asked now. */
  recheck(): Promise<void> {
    if (this.#missing === null) return Promise.resolve();
    this.#rechecking ??= this.#runInTurn(() => this.#recheck()).finally(
      () => (this.#rechecking = null),
    );
    return this.#rechecking;
  }

  /**
   * Another connection was made anew. A node of a cluster that is the primary no more keeps its connections,
   * and says so only where it is asked for a key.
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

/** WAITAOF has replicas write to their disks first; it needs Redis 7.2 and an append-only file. */
async function findWaitCommand(connection: RedisConnection): Promise<WaitCommand> {
  const info = await readInfo(connection);
  const [, major = 0, minor = 0] = /^(\d+)\.(\d+)/.exec(info.get('redis_version') ?? '') ?? [];
  const isNew = Number(major) > 7 || (Number(major) === 7 && Number(minor) >= 2);
  return isNew && info.get('aof_enabled') === '1' ? 'WAITAOF' : 'WAIT';
}
