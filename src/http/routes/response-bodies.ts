import type { z } from 'zod';
import type { DeadLetter } from '../../model/dead-letter.js';
import type { Delivery } from '../../model/delivery.js';
import type { Page } from '../../model/store.js';
import type { Reason } from '../../model/outcome.js';
import type { Receipt } from '../../model/store.js';
import type { StoreLane } from '../../model/lane.js';
import type { AcceptedMany, AcceptedOne } from '../../ingest/accept.js';
import type {
  deadLetterSchema,
  deliverySchema,
  reasonSchema,
  receiptSchema,
  acceptedManySchema,
  acceptedOneSchema,
} from './responses.js';

/** From the relay's types to the JSON a caller sees: snake_case, ISO 8601, null for what is not there. */

type TakenOne = Extract<AcceptedOne, { kind: 'accepted' }>;
type TakenMany = Extract<AcceptedMany, { kind: 'accepted' }>;

const toMoment = (epochMs: number): string => new Date(epochMs).toISOString();

export function toAcceptedOneBody({
  id,
  duplicate,
  warnings,
}: TakenOne): z.output<typeof acceptedOneSchema> {
  const status = duplicate ? 'duplicate' : 'accepted';
  return warnings.length === 0 ? { id, status } : { id, status, warnings: [...warnings] };
}

export function toAcceptedManyBody(
  taken: TakenMany,
  { withIds }: { readonly withIds: boolean },
): z.output<typeof acceptedManySchema> {
  return {
    accepted: taken.accepted,
    duplicates: taken.duplicates,
    rejected: taken.rejected.map(({ index, errors }) => ({ index, errors: [...errors] })),
    ...(taken.rejectedCount > taken.rejected.length && {
      rejected_unlisted: taken.rejectedCount - taken.rejected.length,
    }),
    ...(taken.warnings.length > 0 && {
      warnings: taken.warnings.map(({ index, warnings }) => ({ index, warnings: [...warnings] })),
    }),
    ...(taken.warningCount > taken.warnings.length && {
      warnings_unlisted: taken.warningCount - taken.warnings.length,
    }),
    ...(withIds && { ids: [...taken.ids] }),
  };
}

function toReasonView(reason: Reason): z.output<typeof reasonSchema> {
  const { code, detail, status, faults } = reason;
  return { code, detail, status: status ?? null, faults: [...(faults ?? [])] };
}

const toReasonOrNull = (reason: Reason | null) => (reason === null ? null : toReasonView(reason));

export function toReceiptBody(receipt: Receipt): z.output<typeof receiptSchema> {
  const { id, lane, state, deliveryId, merged, reason } = receipt;
  return { id, lane, state, delivery_id: deliveryId, merged, reason: toReasonOrNull(reason) };
}

export function toDeliveryBody(delivery: Delivery): z.output<typeof deliverySchema> {
  const { id, lane, trigger, count, bytes, status, attempt, result } = delivery;
  const { delivered, merged, retried } = delivery;
  return {
    id,
    lane,
    trigger,
    at: toMoment(delivery.at),
    duration_ms: delivery.durationMs,
    count,
    bytes,
    status,
    attempt,
    result,
    delivered,
    merged,
    retried,
    dead_lettered: delivery.deadLettered,
    backfilled: delivery.backfilled ?? 0,
    reason: toReasonOrNull(delivery.reason),
    import_job: delivery.importJob,
  };
}

/**
 * JSON text. The payload goes in as the text it is: parsing it would round the integers that
 * JavaScript cannot hold, and what is shown must be what was or will be sent.
 */
export function toDeadLetterText(letter: DeadLetter): string {
  const head: Omit<z.output<typeof deadLetterSchema>, 'payload' | 'lane'> & {
    readonly lane: StoreLane;
  } = {
    id: letter.id,
    lane: letter.lane,
    accepted_at: toMoment(letter.acceptedAt),
    buried_at: toMoment(letter.deadLetteredAt),
    attempts: letter.attempts,
    delivery_id: letter.deliveryId,
    reason: toReasonView(letter.reason),
  };
  const { buffer, byteOffset, byteLength } = letter.payload;
  const payload = Buffer.from(buffer, byteOffset, byteLength).toString('utf8');
  return `${JSON.stringify(head).slice(0, -1)},"payload":${payload}}`;
}

export function toPageText<T>(page: Page<T>, toText: (entry: T) => string): string {
  return `{"data":[${page.data.map(toText).join(',')}],"next":${JSON.stringify(page.next)}}`;
}
