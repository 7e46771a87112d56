import { storeLanes, type StoreLane } from '../../model/lane.js';
import { mapStoreLanes } from '../../model/lane.js';
import type { RedisReply } from '../../redis/connection.js';

/** One lane, as it stood at the end of a script. */
export type LaneState = {
  readonly count: number;
  readonly bytes: number;
  /** Claimable now. */
  readonly ready: number;
  readonly readyBytes: number;
  readonly accepted: number;
  readonly delivered: number;
  readonly merged: number;
  readonly deadLettered: number;
  readonly deadLetters: number;
  /** When the oldest of all came in, ms by the store's time. */
  readonly oldestAt: number | null;
  /** Ms by the store's time; null where nothing is claimable. */
  readonly oldestReadyAt: number | null;
  readonly nextDueAt: number | null;
  /** Import jobs whose relay is gone. */
  readonly orphans: number;
  readonly erased: number;
};

/** The whole buffer, as it stood at the end of a script. */
export type StoreState = {
  /** Ms, by the clock that all relays share. */
  readonly at: number;
  readonly epoch: string;
  readonly isFull: boolean;
  /** Settled of late, decaying; at `drained.at`. */
  readonly drained: { readonly count: number; readonly bytes: number; readonly at: number };
  readonly lanes: Readonly<Record<StoreLane, LaneState>>;
};

export function toStoreState(reply: RedisReply | undefined): StoreState {
  const [at, epoch, isFull, count, bytes, drainedAt, ...rest] = readReplyList(reply);
  if (rest.length < storeLanes.length) throw new Error('Redis returned no store state');
  return {
    at: Number(at),
    epoch: readReplyText(epoch),
    isFull: readReplyText(isFull) === '1',
    drained: { count: readNumber(count), bytes: readNumber(bytes), at: readNumber(drainedAt) },
    lanes: mapStoreLanes((lane) => toLaneState(rest[storeLanes.indexOf(lane)])),
  };
}

function toLaneState(reply: RedisReply | undefined): LaneState {
  const numbers = readReplyList(reply).map(Number);
  const at = (index: number): number => numbers[index] ?? 0;
  // A server that dropped a part of the buffer counts down from nothing.
  const countAt = (index: number): number => Math.max(0, at(index));
  const orNull = (index: number): number | null => (at(index) === -1 ? null : at(index));
  return {
    count: countAt(0),
    bytes: countAt(1),
    ready: countAt(2),
    readyBytes: countAt(3),
    accepted: countAt(4),
    delivered: countAt(5),
    merged: countAt(6),
    deadLettered: countAt(7),
    deadLetters: countAt(8),
    oldestAt: orNull(9),
    oldestReadyAt: orNull(10),
    nextDueAt: orNull(11),
    orphans: at(12),
    erased: countAt(13),
  };
}

export const readReplyList = (reply: RedisReply | undefined): readonly RedisReply[] =>
  Array.isArray(reply) ? (reply as readonly RedisReply[]) : [];

export const readReplyText = (reply: RedisReply | undefined): string =>
  Buffer.isBuffer(reply) || typeof reply === 'string' || typeof reply === 'number'
    ? reply.toString()
    : '';

export const readNumber = (reply: RedisReply | undefined): number => Number(readReplyText(reply));

export const readBytes = (reply: RedisReply | undefined): Buffer =>
  Buffer.isBuffer(reply) ? reply : Buffer.from(readReplyText(reply));
