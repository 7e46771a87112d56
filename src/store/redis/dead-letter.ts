import { z } from 'zod';
import { storeLanes } from '../../model/lane.js';
import type { DeadLetter } from '../../model/dead-letter.js';
import type { StoredDeadLetter } from '../dead-letters.js';
import type { Draft } from '../../model/envelope.js';
import type { Reason } from '../../model/outcome.js';
import { toId } from '../ids.js';
import type { Queued } from '../lane-queue.js';

const storedSchema = z.object({
  lane: z.enum(storeLanes),
  seq: z.int(),
  keys: z.array(z.string()),
  acceptedAt: z.number(),
  /** The name in Redis of `deadLetteredAt`. */
  buriedAt: z.number(),
  attempts: z.int(),
  deliveryId: z.string().nullable(),
  reason: z.custom<Reason>((value) => typeof value === 'object' && value !== null),
});

/** JSON of a dead letter, without the payload, which settle.lua adds. */
export function stringifyDeadLetter(
  { lane, seq, keys, acceptedAt, attempts }: Queued,
  {
    reason,
    deliveryId,
    deadLetteredAt,
  }: Pick<DeadLetter, 'reason' | 'deliveryId' | 'deadLetteredAt'>,
): string {
  const facts = { reason, deliveryId, buriedAt: deadLetteredAt };
  return JSON.stringify({ lane, seq, keys, acceptedAt, attempts: attempts + 1, ...facts });
}

/** The same for a draft that is dead-lettered at once; append.lua adds the number, too. '' for any other draft. */
export function encodeDraft(
  { lane, keys, acceptedAt, deadLetterReason: reason }: Draft,
  now: number,
): string {
  if (reason === undefined) return '';
  const facts = { reason, deliveryId: null, buriedAt: now };
  return JSON.stringify({ lane, keys, acceptedAt, attempts: 0, ...facts });
}

/** Parses JSON, a newline and the payload. */
export function parseDeadLetter(blob: Buffer, epoch: string): StoredDeadLetter {
  const cut = blob.indexOf('\n');
  const head = storedSchema.parse(JSON.parse(blob.toString('utf8', 0, cut)));
  const { lane, keys, acceptedAt, buriedAt: deadLetteredAt, attempts, reason, deliveryId } = head;
  const id = toId({ lane, epoch, seq: head.seq });
  const payload = blob.subarray(cut + 1);
  const of = { id, lane, keys, acceptedAt, payload };
  return { ...of, deadLetteredAt, attempts, reason, deliveryId };
}
