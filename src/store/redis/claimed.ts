import { z } from 'zod';
import type { StoreLane, Reason } from '../../envelope.js';
import type { Reply } from '../../redis/link.js';
import { toId } from '../ids.js';
import type { Queued } from '../lane-queue.js';
import { toBytes, toNumber, toText } from './view.js';

/** An envelope that this relay has claimed. */
export type Claimed = Queued & {
  /** The number of this relay's claim. */
  readonly claim: number;
};

/** What is kept of an envelope that was sent at least once. */
export type Tries = Pick<Claimed, 'attempts' | 'alone' | 'lastTry' | 'ref'>;

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

const untried: Tries = { attempts: 0, alone: false, lastTry: null, ref: null };

export function toTries(text: string): Tries {
  return text === '' ? untried : triesSchema.parse(JSON.parse(text));
}

export function fromTries({ attempts, alone, lastTry, ref }: Tries): string {
  return JSON.stringify({ attempts, alone, lastTry, ref });
}

const fields = 5;

/** From a script's flat list of parcel, number, tries, m, payload. */
export function toClaimed(
  flat: readonly Reply[],
  {
    lane,
    epoch,
    claim,
  }: { readonly lane: StoreLane; readonly epoch: string; readonly claim: number },
): readonly (readonly [parcel: number, claimed: Claimed])[] {
  return Array.from({ length: flat.length / fields }, (_, index) => {
    const [parcel, number, tries, m, payload] = flat.slice(index * fields, (index + 1) * fields);
    const [acceptedAt, readyAt, ...keys] = toText(m).split(' ');
    const seq = toNumber(number);
    const claimed: Claimed = {
      id: toId({ lane, epoch, seq }),
      lane,
      seq,
      claim,
      keys,
      acceptedAt: Number(acceptedAt),
      readyAt: Number(readyAt),
      inFlight: true,
      payload: toBytes(payload),
      ...toTries(toText(tries)),
    };
    return [toNumber(parcel), claimed] as const;
  });
}
