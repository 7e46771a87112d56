import type { Fact } from '../model/fact.js';
import type { FactStore } from './accept-from-source.js';

/**
 * A store that does not write the fact of an order again while it is the same. Each webhook of an order
 * names its buyer, and some shops send ten of them for one order. Facts of people are written again,
 * so that those who come back are remembered for longer.
 */
export function withoutUnchangedOrders(store: FactStore): FactStore {
  return {
    getFacts: (keys) => store.getFacts(keys),
    async putFacts(facts) {
      const ofOrders = facts.filter(({ kind }) => kind === 'order');
      if (ofOrders.length === 0) return store.putFacts(facts);
      const kept = await store.getFacts(ofOrders.map(({ key }) => key));
      const unchanged = new Set<Fact>(ofOrders.filter(({ value }, at) => kept[at] === value));
      const changed = facts.filter((fact) => !unchanged.has(fact));
      return changed.length === 0 ? { ok: true } : store.putFacts(changed);
    },
  };
}
