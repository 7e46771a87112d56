import { factKinds, type Fact } from '../../model/fact.js';
import { UnavailableError } from '../../redis/connection.js';
import type { FactBounds } from '../facts.js';
import { storeScripts } from './scripts.js';
import type { Session } from './session.js';
import { readBytes, readList } from './view.js';

/** A script holds up the server as long as it runs: more goes into the next. */
const factsPerScript = 500;

/** Facts at the server, for all relays. */
export class RedisFacts {
  readonly #session: Session;
  readonly #maxCount: number;
  /** In the order of `factKinds`; Lua reads no Infinity. */
  readonly #maxAges: readonly number[];

  constructor(session: Session, { maxCount, maxAgeMs }: FactBounds) {
    this.#session = session;
    this.#maxCount = maxCount;
    this.#maxAges = factKinds.map((kind) => (maxAgeMs[kind] === Infinity ? -1 : maxAgeMs[kind]));
  }

  /** False where the server is away; it may have some of them then. */
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
    const values = readList(await this.#session.read(storeScripts.getFacts, args));
    return keys.map((_key, index) => {
      const value = values[index] ?? null;
      return value === null || this.#maxCount === 0 ? null : readBytes(value).toString();
    });
  }
}
