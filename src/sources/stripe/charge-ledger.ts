import { z } from 'zod';
import type { SkipReason, StripeEntry, StripeEvent, TopicResult } from './event.js';
import { chargeLedgerKey } from './people.js';

/**
 * The ledger of one charge: which captures and refunds earlier webhooks counted, and what a further
 * webhook adds. Stripe gives sums: the amount captured so far, and, where it lists no refunds, the amount
 * refunded so far. Several webhooks may report the same money, in any order and repeatedly. The ledger
 * counts each amount once, and gives the same events again for a repeated webhook. Amounts are in the
 * smallest unit of the currency.
 */

/** The part of the captured amount that one event counts: above `from`, up to `to`. */
export type Capture = { readonly from: bigint; readonly to: bigint };

/** A refund, identified by its id or, if no webhook gave an id, by the sum of refunds up to and including it. */
type Refund = {
  readonly id?: string | undefined;
  /** The sum of the charge's refunds including this one, as charge.refunded gave it. */
  readonly sum?: bigint | undefined;
  readonly amount: bigint;
  /** Unique id of the event that counted it. Absent: it was not counted. */
  readonly countedAs?: string | undefined;
  /** Id of the Stripe event that counted it. */
  readonly by?: string | undefined;
  /** Id of the first Stripe event that reported its failure. */
  readonly failedBy?: string | undefined;
};

export type ChargeLedger = {
  /** True while the amount is authorised and nothing is captured. */
  readonly isOpen: boolean;
  readonly captures: readonly (Capture & { readonly by: string })[];
  readonly refunds: readonly Refund[];
};

const emptyLedger: ChargeLedger = { isOpen: false, captures: [], refunds: [] };

const whole = z.string().regex(/^-?\d+$/);
const amount = z.codec(whole, z.bigint(), {
  decode: (text) => BigInt(text),
  encode: (value) => String(value),
});
const ledgerCodec = z.object({
  isOpen: z.boolean(),
  captures: z.array(z.object({ from: amount, to: amount, by: z.string() })).readonly(),
  refunds: z
    .array(
      z.object({
        id: z.string().optional(),
        sum: amount.optional(),
        amount,
        countedAs: z.string().optional(),
        by: z.string().optional(),
        failedBy: z.string().optional(),
      }),
    )
    .readonly(),
});

function parseChargeLedger(kept: string | null): ChargeLedger {
  if (kept === null) return emptyLedger;
  return ledgerCodec.safeParse(JSON.parse(kept)).data ?? emptyLedger;
}

/** What one webhook adds: the changed ledger, the events, and the skip reasons if there are none. */
export type LedgerStep = {
  readonly ledger: ChargeLedger;
  readonly entries: readonly StripeEntry[];
  readonly reasons: readonly SkipReason[];
};

/** The result of a topic that depends on the ledger of its charge. `add` is pure: it may run again. */
export function withChargeLedger(
  event: StripeEvent,
  add: (ledger: ChargeLedger) => LedgerStep,
): TopicResult {
  return {
    kind: 'ledger',
    ledger: {
      kind: 'charge',
      key: chargeLedgerKey(event),
      resolve: (kept) => {
        const before = parseChargeLedger(kept);
        const { ledger, entries, reasons } = add(before);
        const skipped = [...new Set(reasons)].map((reason) => ({ reason }));
        return {
          entries: entries.map((entry) => ({ ...entry, index: 0 })),
          skipped: entries.length > 0 ? [] : skipped,
          kept: ledger === before ? kept : stringifyChargeLedger(ledger),
        };
      },
    },
  };
}

/** A fact holds at most 4 KB. */
const maxChars = 3500;

/** Drops the oldest parts of a ledger that is too long. Their amounts stay in the sums of the next parts. */
function stringifyChargeLedger(ledger: ChargeLedger): string {
  const text = JSON.stringify(ledgerCodec.encode(ledger));
  if (text.length <= maxChars) return text;
  const { captures, refunds } = ledger;
  return captures.length > refunds.length
    ? stringifyChargeLedger({ ...ledger, captures: captures.slice(1) })
    : stringifyChargeLedger({ ...ledger, refunds: refunds.slice(1) });
}

/** A capture as a webhook reports it. `before`: the sum before this capture, if the webhook has it. */
export type CaptureReport = {
  readonly by: string;
  readonly sum: bigint;
  readonly before: bigint | undefined;
};

/**
 * Adds a reported capture. An amount below `before` that is not counted yet belongs to a capture whose
 * webhook is lost or late: it is counted with the unique id that the other webhook would use.
 */
export function addCapture(
  ledger: ChargeLedger,
  { by, sum, before }: CaptureReport,
): { readonly ledger: ChargeLedger; readonly counted: readonly Capture[] } {
  const own = ledger.captures.filter((each) => each.by === by);
  if (own.length > 0) return { ledger, counted: own };
  const start = ledger.captures.reduce((most, { to }) => (to > most ? to : most), 0n);
  const isBetween = before !== undefined && before > start && before < sum;
  const bounds = isBetween ? [start, before, sum] : [start, sum];
  const counted = bounds.slice(1).flatMap((to, at) => {
    const from = bounds[at] ?? to;
    return to > from ? [{ from, to, by }] : [];
  });
  const captures = [...ledger.captures, ...counted];
  return { ledger: { ...ledger, isOpen: false, captures }, counted };
}

/** The result for a refund: an event with the unique id `as`, or a skip. */
export type CountedRefund =
  | { readonly kind: 'counted'; readonly as: string; readonly amount: bigint }
  | { readonly kind: 'skipped'; readonly reason: string };

type Counted = { readonly ledger: ChargeLedger; readonly refund: CountedRefund };

/** A refund with its id. */
export type NamedRefund = { readonly by: string; readonly id: string; readonly amount: bigint };

export function addRefund(ledger: ChargeLedger, { by, id, amount: given }: NamedRefund): Counted {
  const known = ledger.refunds.find((each) => each.id === id);
  if (known !== undefined) return { ledger, refund: repeatRefund(known, by) };
  if (ledger.isOpen) return { ledger, refund: skippedRefund('not_captured') };
  // charge.refunded counted it before a webhook gave its id.
  const unnamed = ledger.refunds.find(
    (each) => each.id === undefined && each.failedBy === undefined && each.amount === given,
  );
  if (unnamed !== undefined) {
    return {
      ledger: replaceRefund(ledger, unnamed, { ...unnamed, id }),
      refund: skippedRefund('already_counted'),
    };
  }
  const refund: Refund = { id, amount: given, countedAs: id, by };
  return {
    ledger: appendRefund(ledger, refund),
    refund: { kind: 'counted', as: id, amount: given },
  };
}

/** A sum of refunds without the refunds themselves: charge.refunded since API version 2022-11-15. */
export type RefundReport = {
  readonly by: string;
  readonly charge: string;
  readonly sum: bigint;
  /** The sum before this refund, if the webhook has it. */
  readonly before: bigint | undefined;
};

export function addRefundSum(
  ledger: ChargeLedger,
  { by, charge, sum, before }: RefundReport,
): Counted {
  const own = ledger.refunds.find((each) => each.by === by);
  if (own !== undefined) return { ledger, refund: repeatRefund(own, by) };
  const standing = ledger.refunds.filter((each) => each.failedBy === undefined);
  if (standing.some((each) => each.sum === sum)) {
    return { ledger, refund: skippedRefund('already_counted') };
  }
  const counted = standing.reduce((total, each) => total + each.amount, 0n);
  const added = before === undefined ? sum - counted : sum - before;
  if (added <= 0n) return { ledger, refund: skippedRefund('already_counted') };
  const named = standing.find((each) => each.sum === undefined && each.amount === added);
  if (named !== undefined) {
    return {
      ledger: replaceRefund(ledger, named, { ...named, sum }),
      refund: skippedRefund('already_counted'),
    };
  }
  // After a failed refund, another refund can lead to the same sum.
  const failures = ledger.refunds.filter((each) => each.failedBy !== undefined).length;
  const as = `${charge}:refunded:${sum}${failures === 0 ? '' : `:${failures}`}`;
  const refund: Refund = { sum, amount: added, countedAs: as, by };
  return { ledger: appendRefund(ledger, refund), refund: { kind: 'counted', as, amount: added } };
}

function repeatRefund(known: Refund, by: string): CountedRefund {
  if (known.failedBy !== undefined) return skippedRefund('refund_failed');
  if (known.by !== by || known.countedAs === undefined) return skippedRefund('already_counted');
  return { kind: 'counted', as: known.countedAs, amount: known.amount };
}

/** A refund that failed or was cancelled. */
export type FailedRefund = NamedRefund & {
  /** True if the webhook itself reports that the refund had succeeded before. */
  readonly hadSucceeded: boolean;
};

/** `wasCounted`: true if a refund event was sent, which the failure reverses. Null: an earlier webhook reported the failure. */
export function addFailedRefund(
  ledger: ChargeLedger,
  { by, id, amount: given, hadSucceeded }: FailedRefund,
): { readonly ledger: ChargeLedger; readonly wasCounted: boolean | null } {
  const known =
    ledger.refunds.find((each) => each.id === id) ??
    ledger.refunds.find(
      (each) => each.id === undefined && each.failedBy === undefined && each.amount === given,
    );
  if (known === undefined) {
    const refund: Refund = {
      id,
      amount: given,
      failedBy: by,
      ...(hadSucceeded && { countedAs: id }),
    };
    return { ledger: appendRefund(ledger, refund), wasCounted: hadSucceeded };
  }
  const wasCounted = known.countedAs !== undefined;
  if (known.failedBy === by) return { ledger, wasCounted };
  if (known.failedBy !== undefined) return { ledger, wasCounted: null };
  return { ledger: replaceRefund(ledger, known, { ...known, id, failedBy: by }), wasCounted };
}

const skippedRefund = (reason: string): CountedRefund => ({ kind: 'skipped', reason });

function appendRefund(ledger: ChargeLedger, refund: Refund): ChargeLedger {
  return { ...ledger, refunds: [...ledger.refunds, refund] };
}

function replaceRefund(ledger: ChargeLedger, old: Refund, by: Refund): ChargeLedger {
  return { ...ledger, refunds: ledger.refunds.map((each) => (each === old ? by : each)) };
}
