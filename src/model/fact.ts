/**
 * What a fact is about: an accepted webhook delivery, the buyer of an order, the person behind a
 * payment, a charge, a customer, a user or an anonymous device of a tracking SDK, a consent that a person
 * withdrew, the newest decision about a consent that a source reported, an erasure (without the person), or
 * anything else.
 * Each kind has bounds of its own, so that many facts of one kind displace none of another.
 */
// prettier-ignore
export const factKinds = [
  'delivery', 'order', 'payment', 'charge', 'customer', 'user', 'device', 'consent', 'decision',
  'erasure', 'other',
] as const;

export type FactKind = (typeof factKinds)[number];

/** A small thing that the relay keeps for later requests, such as the buyer of an order. */
export type Fact = {
  readonly kind: FactKind;
  /** 1 to 512 bytes of UTF-8, unique across kinds. The caller ensures both. */
  readonly key: string;
  /** At most 4 KB of UTF-8, which the caller ensures. */
  readonly value: string;
};
