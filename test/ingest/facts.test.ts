import { expect, it } from 'vitest';
import type { Fact } from '../../src/model/fact.js';
import { withoutUnchangedOrders } from '../../src/ingest/facts.js';

function openStore() {
  const kept = new Map<string, string>();
  const written: string[] = [];
  const store = withoutUnchangedOrders({
    putFacts: (facts) => {
      for (const { key, value } of facts) {
        kept.set(key, value);
        written.push(`${key} ${value}`);
      }
      return Promise.resolve({ ok: true });
    },
    getFacts: (keys) => Promise.resolve(keys.map((key) => kept.get(key) ?? null)),
  });
  return { store, written };
}

const ofOrder = (value: string, key = 'order-1'): Fact => ({ kind: 'order', key, value });
const ofUser: Fact = { kind: 'user', key: 'user-1', value: 'ada' };

it('the fact of an order is written again only if it changed', async () => {
  const { store, written } = openStore();
  for (const value of ['ada', 'ada', 'ben', 'ben', 'ada']) await store.putFacts([ofOrder(value)]);
  expect(written).toEqual(['order-1 ada', 'order-1 ben', 'order-1 ada']);
  expect(await store.getFacts(['order-1'])).toEqual(['ada']);
});

it('other facts are written even if the fact of an order in the same call is unchanged', async () => {
  const { store, written } = openStore();
  await store.putFacts([ofOrder('ada'), ofUser]);
  await store.putFacts([ofOrder('ada'), ofUser, ofOrder('ben', 'order-2')]);
  expect(written).toEqual(['order-1 ada', 'user-1 ada', 'user-1 ada', 'order-2 ben']);
});
