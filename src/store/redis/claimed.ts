import { z } from 'zod';
import type { StoreLane } from '../../model/lane.js';
import type { Reason } from '../../model/outcome.js';
import type { RedisReply } from '../../redis/connection.js';
import { toId } from '../ids.js';
import type { Queued } from '../lane-queue.js';
import { readBytes, readNumber, readReplyText } from './store-state.js';

/** An envelope that this relay has claimed. */
export type Claimed = Queued & {
  /** The number of this relay's claim. */
  readonly claim: number;
};

/** What the store keeps about earlier attempts of an envelope. */
export type AttemptState = Pick<Claimed, 'attempts' | 'alone' | 'lastTry' | 'ref'>;

const triesSchema = z.object({
  attempts: z.int(),
  alone: z.boolean(),
  lastTry: z
    .object({
      deliveryId: z.string().nullable(),
      reason: z.custom<Reason>((value) => typeof value === 'object').nullable(),
    })
    .nullable(),
  ref: z.string().nullable(),
});

const untried: AttemptState = { attempts: 0, alone: false, lastTry: null, ref: null };

export function readAttemptState(text: string): AttemptState {
  return text === '' ? untried : triesSchema.parse(JSON.parse(text));
}

export function writeAttemptState({ attempts, alone, lastTry, ref }: AttemptState): string {
  return JSON.stringify({ attempts, alone, lastTry, ref });
}

const fields = 5;

/** Parses the flat list of claim.lua: item, seq, attempt state, m and payload of each envelope. */
export function toClaimed(
  flat: readonly RedisReply[],
  {
    lane,
    epoch,
    claim,
  }: { readonly lane: StoreLane; readonly epoch: string; readonly claim: number },
): readonly (readonly [item: number, claimed: Claimed])[] {
  return Array.from({ length: flat.length / fields }, (_, index) => {
    const [item, number, tries, m, payload] = flat.slice(index * fields, (index + 1) * fields);
    const [acceptedAt, readyAt, ...keys] = readReplyText(m).split(' ');
    const seq = readNumber(number);
    const claimed: Claimed = {
      id: toId({ lane, epoch, seq }),
      lane,
      seq,
      claim,
      keys,
      acceptedAt: Number(acceptedAt),
      readyAt: Number(readyAt),
      inFlight: true,
      payload: readBytes(payload),
      ...readAttemptState(readReplyText(tries)),
    };
    return [readNumber(item), claimed] as const;
  });
}
