import { open, type Database, type RootDatabase } from 'lmdb';
import type { Delivery } from '../../model/delivery.js';
import type { Lane } from '../../model/lane.js';
import type { StoredStates } from './envelope-state.js';

/**
 * Number of the lane, kind of the block, number of the block. Kind 0 (redriven) sorts before kind 1 (fresh), so
 * redriven envelopes are loaded first.
 */
export type BlockKey = readonly [lane: number, kind: number, number: number];
export const redrivenKind = 0;
export const freshKind = 1;

/** Inclusive ranges of envelope numbers. */
export type Ranges = readonly (readonly [from: number, to: number])[];

export type StoredDelivery = {
  readonly delivery: Delivery;
  /** Numbers of the envelopes that it settled, so that their receipts are deleted together with it. */
  readonly delivered: Ranges;
  readonly merged: Ranges;
};

/** Key: [lane, to]. The delivery with this order settled the envelopes `from` to `to`. */
export type StoredRange = {
  readonly from: number;
  readonly order: number;
  readonly merged: boolean;
};

export type StoredImport = { readonly lane: Lane; readonly delivery: Delivery };

/**
 * The tables of the journal. They share one LMDB environment, so that one transaction can change all of them.
 *
 * Names of tables in LMDB, members of stored JSON and byte layouts are the format on disk. They keep their names
 * (`marks`, `letters`, `seen`, `memos`) where the code uses newer ones, since a change needs a migration
 * (format.ts).
 */
export type Tables = {
  readonly environment: RootDatabase;
  /** `format` and `totals`. */
  readonly meta: Database<unknown, string>;
  /** Unsettled envelopes in blocks. A block is deleted once all of its envelopes are settled. */
  readonly blocks: Database<Buffer, [number, number, number]>;
  /** States of a block's envelopes; absent while none has an attempt. */
  readonly states: Database<StoredStates, [number, number, number]>;
  readonly imports: Database<StoredImport, string>;
  /** The delivery log, by order of the deliveries. */
  readonly deliveries: Database<StoredDelivery, number>;
  readonly deliveryOrders: Database<number, string>;
  readonly settled: Database<StoredRange, [number, number]>;
  /** Dead letters, by the order in which they were added. */
  readonly deadLetters: Database<Buffer, number>;
  /** Order of a dead letter, by lane and number of the envelope. */
  readonly deadLetterOrders: Database<number, [number, number]>;
  /** The entries of the dedupe log, by number. */
  readonly dedupe: Database<Buffer, number>;
  readonly facts: Database<Buffer, Buffer>;
  /** Time and key of each fact, by number of its kind and order: oldest first. */
  readonly factOrders: Database<Buffer, [kind: number, order: number]>;
  /** Facts that an earlier version wrote, by key. */
  readonly legacyFacts: Database<Buffer, Buffer>;
  /** Keys of those facts, by order: oldest first. */
  readonly legacyFactOrders: Database<Buffer, number>;
};

/** The largest size of the file. It is only as long as its content. */
const mapBytes = 2 ** 40;

/**
 * Opens the file, or creates it.
 *
 * - `overlappingSync` off: a commit ends with fdatasync and the synced write of the meta page, so a resolved
 *   write is on disk, as lmdb documents it.
 * - `eventTurnBatching: false`: one `batch()` is one transaction that fails by itself. Otherwise a failed commit
 *   also rejects a promise that no code handles.
 * - `remapChunks: true`: maps only the parts of the file that are read, and unmaps them again. Otherwise nearly the
 *   whole file stays mapped and counts as memory of the relay.
 */
export function openTables(path: string): Tables {
  const options = {
    path,
    maxDbs: 16,
    mapSize: mapBytes,
    remapChunks: true,
    overlappingSync: false,
    eventTurnBatching: false,
  };
  const environment = open(options);
  try {
    return { environment, ...openAll(environment) };
  } catch (error) {
    void environment.close();
    throw error;
  }
}

function openAll(environment: RootDatabase): Omit<Tables, 'environment'> {
  const binary = { encoding: 'binary' } as const;
  const json = { encoding: 'json' } as const;
  return {
    meta: environment.openDB('meta', json),
    blocks: environment.openDB('blocks', binary),
    states: environment.openDB('marks', json),
    imports: environment.openDB('imports', json),
    deliveries: environment.openDB('deliveries', json),
    deliveryOrders: environment.openDB('delivery-orders', json),
    settled: environment.openDB('settled', json),
    deadLetters: environment.openDB('letters', binary),
    deadLetterOrders: environment.openDB('letter-orders', json),
    dedupe: environment.openDB('seen', binary),
    facts: environment.openDB('facts', { ...binary, keyEncoding: 'binary' }),
    factOrders: environment.openDB('fact-orders', binary),
    legacyFacts: environment.openDB('memos', { ...binary, keyEncoding: 'binary' }),
    legacyFactOrders: environment.openDB('memo-orders', binary),
  };
}
