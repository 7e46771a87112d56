import type { Outcome, SplitMethod } from '../model/outcome.js';
import type { BatchItem } from '../model/envelope.js';
import type { DecidedOutcome } from './retry.js';

/** One item and what the request did to it. */
export type JudgedItem = { readonly item: BatchItem; readonly outcome: DecidedOutcome };

export type Split = {
  readonly judged: readonly JudgedItem[];
  /** What goes again, each in a request of its own; empty where everything is judged. */
  readonly again: readonly (readonly BatchItem[])[];
  readonly method: SplitMethod | null;
};

/**
 * Pure: parts what a request decided from what must be sent again in smaller company.
 * Every split leaves strictly smaller requests, so splitting ends.
 */
export function splitBatch(items: readonly BatchItem[], outcomes: readonly Outcome[]): Split {
  const judged: JudgedItem[] = [];
  const rest: BatchItem[] = [];
  items.forEach((item, index) => {
    const outcome = outcomes[index] ?? missingOutcome;
    if (outcome.kind === 'unattributed') rest.push(item);
    else judged.push({ item, outcome });
  });
  const blame = outcomes.find((outcome) => outcome.kind === 'unattributed');
  if (blame === undefined || rest.length === 0) return { judged, again: [], method: null };
  const { method, reason } = blame;
  if (method === 'pointer' && judged.length > 0) return { judged, again: [rest], method };
  const [only] = rest;
  if (rest.length === 1 && only !== undefined && judged.length === 0) {
    return {
      judged: [{ item: only, outcome: { kind: 'rejected', reason } }],
      again: [],
      method: null,
    };
  }
  const byHalf = method === 'size' ? 'size' : 'bisect';
  return { judged, again: halves(rest), method: byHalf };
}

function halves(items: readonly BatchItem[]): readonly (readonly BatchItem[])[] {
  const middle = Math.ceil(items.length / 2);
  return [items.slice(0, middle), items.slice(middle)].filter((half) => half.length > 0);
}

/** An edge that answers for too few is our own fault; the envelope is safe to send again. */
const missingOutcome: DecidedOutcome = {
  kind: 'retryable',
  reason: { code: 'no_outcome', detail: 'no outcome was given for this envelope' },
};
