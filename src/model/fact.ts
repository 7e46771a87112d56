/**
 * What a fact is about: a delivery of a webhook that was accepted, the buyer of an order, the person
 * behind a payment, a charge, a customer, a user of an SDK or an anonymous id of a device, and anything
 * else. Each kind has bounds of its own, so that many facts of one kind remove none of another.
 */
// prettier-ignore
export const factKinds = [
  'delivery', 'order', 'payment', 'charge', 'customer', 'user', 'device', 'other',
] as const;

export type FactKind = (typeof factKinds)[number];

/** A small thing remembered for later requests, such as the buyer of an order. */
export type Fact = {
  readonly kind: FactKind;
  /** 1 to 512 bytes of UTF-8, unique across kinds. The caller ensures both. */
  readonly key: string;
  /** At most 4 KB of UTF-8, which the caller ensures. */
  readonly value: string;
};
