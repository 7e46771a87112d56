import { factKinds, type Fact } from '../../model/fact.js';
import { UnavailableError } from '../../redis/connection.js';
import type { FactBounds } from '../facts.js';
import { storeScripts } from './scripts.js';
import type { Session } from './session.js';
import { readBytes, readReplyList } from './store-state.js';

/** Most facts in one script, because the server runs nothing else while a script runs. */
const factsPerScript = 500;

/** The facts of all relays, in Redis. */
export class RedisFacts {
  readonly #session: Session;
  readonly #maxCount: number;
  /** Age bounds in the order of `factKinds`; -1 for none, because Lua cannot parse Infinity. */
  readonly #maxAges: readonly number[];

  constructor(session: Session, { maxCount, maxAgeMs }: FactBounds) {
    this.#session = session;
    this.#maxCount = maxCount;
    this.#maxAges = factKinds.map((kind) => (maxAgeMs[kind] === Infinity ? -1 : maxAgeMs[kind]));
  }

  /** Resolves with false if the server is unavailable; it may have stored some of the facts then. */
  async put(facts: readonly Fact[]): Promise<boolean> {
    try {
      for (let from = 0; from < facts.length; from += factsPerScript) {
        const some = facts.slice(from, from + factsPerScript);
        const flat = some.flatMap(({ kind, key, value }) => [kind, key, value]);
        const args = [this.#session.stamp(), ...this.#maxAges, this.#maxCount, ...flat];
        await this.#session.read(storeScripts.putFacts, args, 'replicated');
      }
      return true;
    } catch (error) {
      if (error instanceof UnavailableError) return false;
      throw error;
    }
  }

  /** Rejects with UnavailableError. */
  async get(keys: readonly string[]): Promise<readonly (string | null)[]> {
    if (keys.length === 0) return [];
    const args = [this.#session.stamp(), ...this.#maxAges, ...keys];
    const values = readReplyList(await this.#session.read(storeScripts.getFacts, args));
    return keys.map((_key, index) => {
      const value = values[index] ?? null;
      return value === null || this.#maxCount === 0 ? null : readBytes(value).toString();
    });
  }
}
