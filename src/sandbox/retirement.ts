import { toErrors } from './answer.js';
import type { Answer } from './answer.js';
import { toLaterRevisions } from './revisions.js';
import type { Retirement, Revision } from './revisions.js';

/** Klaviyo's documented behaviour. */
export const documentedRetirement: Retirement = {
  answer: 'forward',
  heedsOptOut: true,
  named: true,
};

/** A request as far as its revision decides about it. */
export type AskedRevision = {
  readonly revision: Revision;
  /** `X-Klaviyo-Revision-Fall-Forward-Opt-Out: 1` (Klaviyo's versioning policy). */
  readonly optsOut: boolean;
  /** YYYY-MM-DD. */
  readonly today: string;
};

/** The revision that answers, and the headers that say so where it is not the one that was asked for. */
export type ServedRevision = {
  readonly revision: Revision;
  readonly headers: Readonly<Record<string, string>>;
};

/**
 * The revision that answers a request: the one it asks for, the next that is not retired, or a 410.
 * `toRetirement` says how a revision is retired, null where it is not.
 */
export function toServedRevision(
  asked: AskedRevision,
  toRetirement: (revision: Revision) => Retirement | null,
): ServedRevision | Answer {
  const retirement = toRetirement(asked.revision);
  if (retirement === null) return { revision: asked.revision, headers: {} };
  const optedOut = asked.optsOut && retirement.heedsOptOut;
  if (retirement.answer === 'gone' || optedOut) return toGone(asked.revision, retirement);
  const later = toLaterRevisions(asked.revision, asked.today);
  const served = later.find((revision) => toRetirement(revision) === null);
  if (served === undefined) return toGone(asked.revision, retirement);
  return { revision: served, headers: retirement.named ? { revision: served.date } : {} };
}

/** Klaviyo documents the status alone; the words are those of its retired v1 and v2 APIs. */
function toGone({ date }: Revision, { body }: Retirement): Answer {
  if (body !== undefined) return { status: 410, body };
  return toErrors(410, [
    {
      code: 'gone',
      title: 'Gone.',
      detail: `The revision ${date} has been retired and is no longer in service.`,
      source: { pointer: '/data/' },
    },
  ]);
}
