import type { Outcome, Parcel, SplitMethod } from '../envelope.js';
import type { Judgeable } from './retry.js';

/** One parcel and what the request did to it. */
export type Judged = { readonly parcel: Parcel; readonly outcome: Judgeable };

export type Split = {
  readonly judged: readonly Judged[];
  /** What goes again, each in a request of its own; empty where everything is judged. */
  readonly again: readonly (readonly Parcel[])[];
  readonly method: SplitMethod | null;
};

/**
 * Pure: parts what a request decided from what must be sent again in smaller company.
 * Every split leaves strictly smaller requests, so splitting ends.
 */
export function splitBatch(parcels: readonly Parcel[], outcomes: readonly Outcome[]): Split {
  const judged: Judged[] = [];
  const rest: Parcel[] = [];
  parcels.forEach((parcel, index) => {
    const outcome = outcomes[index] ?? missingOutcome;
    if (outcome.kind === 'unblamed') rest.push(parcel);
    else judged.push({ parcel, outcome });
  });
  const blame = outcomes.find((outcome) => outcome.kind === 'unblamed');
  if (blame === undefined || rest.length === 0) return { judged, again: [], method: null };
  const { method, reason } = blame;
  if (method === 'pointer' && judged.length > 0) return { judged, again: [rest], method };
  const [only] = rest;
  if (rest.length === 1 && only !== undefined && judged.length === 0) {
    return {
      judged: [{ parcel: only, outcome: { kind: 'rejected', reason } }],
      again: [],
      method: null,
    };
  }
  const byHalf = method === 'size' ? 'size' : 'bisect';
  return { judged, again: halves(rest), method: byHalf };
}

function halves(parcels: readonly Parcel[]): readonly (readonly Parcel[])[] {
  const middle = Math.ceil(parcels.length / 2);
  return [parcels.slice(0, middle), parcels.slice(middle)].filter((half) => half.length > 0);
}

/** An edge that answers for too few is our own fault; the envelope is safe to send again. */
const missingOutcome: Judgeable = {
  kind: 'retryable',
  reason: { code: 'no_outcome', detail: 'no outcome was given for this envelope' },
};
