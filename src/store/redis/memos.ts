import type { Memo } from '../../envelope.js';
import { UnavailableError } from '../../redis/link.js';
import { recallScript, rememberScript } from './memo-scripts.js';
import type { Session } from './session.js';
import { toBytes, toList } from './view.js';

/** A script holds up the server as long as it runs: more goes into the next. */
const memosPerScript = 500;

/** Memos at the server, for all relays. */
export class RedisMemos {
  readonly #session: Session;
  readonly #maxCount: number;

  constructor(session: Session, maxCount: number) {
    this.#session = session;
    this.#maxCount = maxCount;
  }

  /** False where the server is away; it may have some of them then. */
  async remember(memos: readonly Memo[]): Promise<boolean> {
    try {
      for (let from = 0; from < memos.length; from += memosPerScript) {
        const some = memos.slice(from, from + memosPerScript);
        const flat = some.flatMap(({ key, value }) => [key, value]);
        await this.#session.read(rememberScript, [this.#maxCount, ...flat], 'replicated');
      }
      return true;
    } catch (error) {
      if (error instanceof UnavailableError) return false;
      throw error;
    }
  }

  /** Rejects with UnavailableError. */
  async recall(keys: readonly string[]): Promise<readonly (string | null)[]> {
    if (keys.length === 0) return [];
    const values = toList(await this.#session.read(recallScript, keys));
    return keys.map((_key, index) => {
      const value = values[index] ?? null;
      return value === null || this.#maxCount === 0 ? null : toBytes(value).toString();
    });
  }
}
