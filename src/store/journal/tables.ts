import { open, type Database, type RootDatabase } from 'lmdb';
import type { Delivery } from '../../model/delivery.js';
import type { Lane } from '../../model/lane.js';
import type { StoredStates } from './marks.js';

/** Lane, 0 for redriven and 1 for fresh ones, number: redriven envelopes are brought back before fresh ones. */
export type BlockKey = readonly [lane: number, kind: number, number: number];
export const redrivenKind = 0;
export const freshKind = 1;

/** Inclusive ranges of envelope numbers. */
export type Ranges = readonly (readonly [from: number, to: number])[];

export type StoredDelivery = {
  readonly delivery: Delivery;
  /** What it settled, so that its receipts go when it goes. */
  readonly delivered: Ranges;
  readonly merged: Ranges;
};

/** Under [lane, to]: envelopes `from` to `to` were settled by the delivery of that order. */
export type StoredRange = {
  readonly from: number;
  readonly order: number;
  readonly merged: boolean;
};

export type StoredImport = { readonly lane: Lane; readonly delivery: Delivery };

/** The tables of the journal, all in one LMDB environment, so that one transaction can change them all. */
export type Tables = {
  readonly environment: RootDatabase;
  /** `format` and `totals`. */
  readonly meta: Database<unknown, string>;
  /** Unsettled envelopes. A block goes when all of its envelopes are settled. */
  readonly blocks: Database<Buffer, [number, number, number]>;
  /** What became of a block's envelopes, where anything did. */
  readonly marks: Database<StoredStates, [number, number, number]>;
  readonly imports: Database<StoredImport, string>;
  /** The delivery log, by order. */
  readonly deliveries: Database<StoredDelivery, number>;
  readonly deliveryOrders: Database<number, string>;
  readonly settled: Database<StoredRange, [number, number]>;
  /** Dead letters, by order. */
  readonly letters: Database<Buffer, number>;
  /** By [lane, seq]. */
  readonly letterOrders: Database<number, [number, number]>;
  /** The dedupe window's history, by number. */
  readonly seen: Database<Buffer, number>;
  readonly facts: Database<Buffer, Buffer>;
  /** Time and key of facts, by number of the kind and order: oldest first. */
  readonly factOrders: Database<Buffer, [kind: number, order: number]>;
  /** Facts of an earlier version. */
  readonly memos: Database<Buffer, Buffer>;
  /** Their keys, by order: oldest first. */
  readonly memoOrders: Database<Buffer, number>;
};

/** The most the file may ever be: it is as long as what it holds. */
const mapBytes = 2 ** 40;

/**
 * Opens the file, and makes it where there is none.
 *
 * `overlappingSync` off makes a commit end with its fdatasync and the synced write of the head page,
 * so that a resolved write means that it is on disk, in lmdb's documented way. `eventTurnBatching`
 * off makes one `batch()` one transaction that fails by itself; with it a failed commit also rejects
 * a promise that nobody holds. `remapChunks` maps the parts of the file that are looked at and lets
 * them go again: else nearly all of it stays mapped, and counts as the relay's memory.
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
    marks: environment.openDB('marks', json),
    imports: environment.openDB('imports', json),
    deliveries: environment.openDB('deliveries', json),
    deliveryOrders: environment.openDB('delivery-orders', json),
    settled: environment.openDB('settled', json),
    letters: environment.openDB('letters', binary),
    letterOrders: environment.openDB('letter-orders', json),
    seen: environment.openDB('seen', binary),
    facts: environment.openDB('facts', { ...binary, keyEncoding: 'binary' }),
    factOrders: environment.openDB('fact-orders', binary),
    memos: environment.openDB('memos', { ...binary, keyEncoding: 'binary' }),
    memoOrders: environment.openDB('memo-orders', binary),
  };
}
