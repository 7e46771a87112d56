import { asBinary, type Database, type Key } from 'lmdb';

/** One change of a table. It runs in a transaction with others, and its return value is ignored. */
export type Write = {
  /** Bytes of the value. */
  readonly bytes: number;
  readonly run: () => unknown;
};

/** Encodes the value at once, so that its size is known before the transaction. */
export function put<V, K extends Key>(table: Database<V, K>, key: K, value: V): Write {
  if (value instanceof Uint8Array) return { bytes: value.length, run: () => table.put(key, value) };
  const encoded = Buffer.from(JSON.stringify(value));
  // lmdb writes binary values unchanged, but its types do not cover this.
  const binary = asBinary(encoded) as V;
  return { bytes: encoded.length, run: () => table.put(key, binary) };
}

export function remove<V, K extends Key>(table: Database<V, K>, key: K): Write {
  return { bytes: 0, run: () => table.remove(key) };
}
