import { hash } from 'node:crypto';
import type { Fact } from '../model/fact.js';
import type { Store } from '../model/store.js';

/** Facts: what a source's request says that later requests need, such as the buyer of an order. */

export type GetFacts = Store['getFacts'];
export type FactStore = Pick<Store, 'getFacts' | 'putFacts'>;

/** The key of a fact for a name of any length and content: short, and without personal data. */
export function toFactKey(
  source: string,
  kind: 'person' | 'delivery' | 'ledger' | 'device' | 'decision',
  name: string,
): string {
  return hash('sha256', `${source}\n${kind}\n${name}`, 'base64url');
}

/**
 * Wraps a store so that the fact of an order is not written again while its value is the same. Each
 * webhook of an order names its buyer, and some shops send ten of them for one order. Facts about people
 * are written again, so that returning people stay known for longer.
 */
export function withoutUnchangedOrders(store: FactStore): FactStore {
  return {
    getFacts: (keys) => store.getFacts(keys),
    async putFacts(facts) {
      const ofOrders = facts.filter(({ kind }) => kind === 'order');
      if (ofOrders.length === 0) return store.putFacts(facts);
      const stored = await store.getFacts(ofOrders.map(({ key }) => key));
      const unchanged = new Set<Fact>(ofOrders.filter(({ value }, at) => stored[at] === value));
      const changed = facts.filter((fact) => !unchanged.has(fact));
      return changed.length === 0 ? { ok: true } : store.putFacts(changed);
    },
  };
}
