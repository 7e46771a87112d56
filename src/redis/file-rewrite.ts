import { wait, type Clock } from '../clock.js';
import { readInfo } from './durability.js';
import { UnavailableError, type RedisConnection } from './connection.js';

/**
 * Has the server rewrite its append-only file once after each start of the server.
 *
 * A server that ends in the middle of a write leaves an incomplete transaction at the end of this file. Redis
 * (seen with 7.0.15), and Valkey before valkey-io/valkey#4342, cut the file after the last complete command and
 * not before MULTI. So the incomplete transaction stays in the file, and the next start but one runs it: its
 * writes replace what was acknowledged in between.
 *
 * A rewritten file does not contain the transaction. Until the rewrite is done, a second end of the server may
 * still lose something.
 */
export class FileRewrite {
  readonly #options: FileRewriteOptions;
  #running: Promise<string | null> | null = null;

  constructor(options: FileRewriteOptions) {
    this.#options = options;
  }

  /**
   * Resolves with null when the file of the server's current run is rewritten, by any relay, or with a sentence
   * for operators if it cannot be. Rejects with UnavailableError.
   */
  ensure(): Promise<string | null> {
    this.#running ??= this.#ensure().finally(() => (this.#running = null));
    return this.#running;
  }

  async #ensure(): Promise<string | null> {
    const { connection, hash, clock, signal } = this.#options;
    const run = await this.#run();
    if (run === null || String(await connection.call('HGET', hash, field)) === run.id) return null;
    const rejection = await startRewrite(connection);
    if (rejection !== null) return toFinding(rejection);
    for (;;) {
      await wait(clock, pollMs, signal);
      const now = await this.#run();
      // The server was restarted: the next connection starts over.
      if (now?.id !== run.id || signal.aborted) return null;
      if (now.isRewriting) continue;
      if (!now.wasRewritten) return toFinding('its last rewrite failed');
      await connection.call('HSET', hash, field, run.id);
      return null;
    }
  }

  /** Null if the server has no such file, or does not report it. */
  async #run(): Promise<Run | null> {
    const info = await readInfo(this.#options.connection);
    const id = info.get('run_id');
    if (id === undefined || info.get('aof_enabled') !== '1') return null;
    return {
      id,
      isRewriting:
        info.get('aof_rewrite_in_progress') === '1' || info.get('aof_rewrite_scheduled') === '1',
      wasRewritten: info.get('aof_last_bgrewrite_status') === 'ok',
    };
  }
}

export type FileRewriteOptions = {
  readonly connection: Pick<RedisConnection, 'call'>;
  /** Key of the hash whose field `rewrittenRun` names the run of the server whose file was rewritten. */
  readonly hash: string;
  readonly clock: Clock;
  readonly signal: AbortSignal;
};

type Run = { readonly id: string; readonly isRewriting: boolean; readonly wasRewritten: boolean };

const field = 'rewrittenRun';
const pollMs = 1000;

/** Returns the error reply; null if a rewrite started or is running: it contains nothing of the run before. */
async function startRewrite(connection: Pick<RedisConnection, 'call'>): Promise<string | null> {
  try {
    await connection.call('BGREWRITEAOF');
    return null;
  } catch (error) {
    if (!(error instanceof UnavailableError) || error.reply === null) throw error;
    return error.reply.includes('already in progress') ? null : error.reply;
  }
}

const toFinding = (why: string): string =>
  `the append-only file is not rewritten after the server's start (${why}): a server that ends twice in the middle of writing may lose what it acknowledged in between; allow the relay's user +bgrewriteaof, or run BGREWRITEAOF after each crash`;
