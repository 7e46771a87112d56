import { asBinary, type Database, type Key } from 'lmdb';

/** One change of a table. Run within one transaction with others; what it returns is not looked at. */
export type Write = {
  /** What it puts there. */
  readonly bytes: number;
  readonly run: () => unknown;
};

/** Encodes the value now, so that its size is known before anything is written. */
export function put<V, K extends Key>(table: Database<V, K>, key: K, value: V): Write {
  if (value instanceof Uint8Array) return { bytes: value.length, run: () => table.put(key, value) };
  const encoded = Buffer.from(JSON.stringify(value));
  // lmdb writes it as it is, and its types do not say so.
  const binary = asBinary(encoded) as V;
  return { bytes: encoded.length, run: () => table.put(key, binary) };
}

export function remove<V, K extends Key>(table: Database<V, K>, key: K): Write {
  return { bytes: 0, run: () => table.remove(key) };
}
