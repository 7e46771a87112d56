import type { Lane, Outcome, Reason } from '../envelope.js';
import { toApiErrors, toPlace, toReason, type ApiError, type Place } from './api-errors.js';
import { toRateFeedback, type Headers } from './rate-headers.js';

/** One answer of a bulk endpoint, and for how many entries it speaks. */
export type Answer = {
  readonly lane: Lane;
  readonly count: number;
  readonly status: number;
  readonly headers: Headers;
  readonly bodyText: string;
  /** Epoch ms, for a Retry-After that is a date. */
  readonly now: number;
};

/** Klaviyo's shortest useful wait: "0 seconds" was seen, and a retry before time only gets another 429. */
const minThrottleMs = 1000;

/** What an answer means. Pure; one outcome an entry, in order; never throws. docs/outcomes.md tells why. */
export function toOutcomes(answer: Answer): readonly Outcome[] {
  const row = rows.find(({ applies }) => applies(answer)) ?? lastRow;
  return row.outcomes(answer);
}

type Row = {
  readonly applies: (answer: Answer) => boolean;
  readonly outcomes: (answer: Answer) => readonly Outcome[];
};

const isJson = ({ headers, bodyText }: Answer): boolean =>
  !/html/i.test(String(headers['content-type'] ?? '')) && /^\s*[[{]/.test(bodyText);

const speaksOfRevision = ({ bodyText }: Answer): boolean => /revision/i.test(bodyText);

/** The first that applies counts. */
const rows: readonly Row[] = [
  { applies: ({ status }) => status >= 200 && status < 300, outcomes: toTaken },
  {
    applies: ({ status }) => status === 429,
    outcomes: (answer) => all(answer, toThrottled(answer)),
  },
  {
    applies: ({ status }) => status >= 500 || status === 408 || status === 425,
    outcomes: (answer) => all(answer, toRetryable(answer, 'server')),
  },
  // A page from a proxy or from Cloudflare says nothing about the data.
  {
    applies: (answer) => !isJson(answer) && answer.status !== 413 && answer.status !== 401,
    outcomes: (answer) => all(answer, toRetryable(answer, 'edge')),
  },
  {
    applies: ({ status }) => status === 401,
    outcomes: (answer) => all(answer, toBlocked(answer, 'auth')),
  },
  {
    applies: ({ status }) => status === 403,
    outcomes: (answer) => all(answer, toBlocked(answer, 'scope')),
  },
  {
    applies: (answer) =>
      [400, 404, 405, 406, 410, 415].includes(answer.status) && speaksOfRevision(answer),
    outcomes: (answer) => all(answer, toBlocked(answer, 'revision')),
  },
  {
    applies: ({ status }) => [404, 405, 406, 410, 415].includes(status),
    outcomes: (answer) => all(answer, toBlocked(answer, 'endpoint')),
  },
  { applies: ({ status }) => status === 413, outcomes: toTooLarge },
];
const lastRow: Row = { applies: () => true, outcomes: toBlamed };

function all({ count }: Answer, outcome: Outcome): readonly Outcome[] {
  return Array.from({ length: count }, () => outcome);
}

function toTaken(answer: Answer): readonly Outcome[] {
  const ref = answer.lane === 'profiles' ? toImportJobId(answer.bodyText) : null;
  return all(answer, ref === null ? { kind: 'delivered' } : { kind: 'pending', ref });
}

/** Null where the answer carries no import job to follow. */
function toImportJobId(bodyText: string): string | null {
  return /^\s*\{/.test(bodyText) ? readId(bodyText) : null;
}

function readId(bodyText: string): string | null {
  try {
    const { data } = JSON.parse(bodyText) as { data?: { id?: unknown } | null };
    const id = data?.id;
    return typeof id === 'string' && id !== '' ? id : null;
  } catch {
    return null;
  }
}

function toThrottled(answer: Answer): Outcome {
  const { retryAfterMs } = toRateFeedback(answer.headers, answer.now);
  const [, seconds] = /available in (\d{1,5}) second/.exec(answer.bodyText) ?? [];
  const afterMs = retryAfterMs ?? (seconds === undefined ? 0 : Number(seconds) * 1000);
  return {
    kind: 'throttled',
    afterMs: Math.max(minThrottleMs, afterMs),
    reason: reasonFor(answer, 'throttled'),
  };
}

function toRetryable(answer: Answer, code: string): Outcome {
  const { retryAfterMs } = toRateFeedback(answer.headers, answer.now);
  return {
    kind: 'retryable',
    reason: reasonFor(answer, code),
    ...(retryAfterMs !== null && { afterMs: retryAfterMs }),
  };
}

function toBlocked(answer: Answer, code: string): Outcome {
  return { kind: 'blocked', reason: reasonFor(answer, code) };
}

function toTooLarge(answer: Answer): readonly Outcome[] {
  return all(answer, { kind: 'unblamed', method: 'size', reason: reasonFor(answer, 'too_large') });
}

/** A 4xx about the data: entries that pointers name are rejected; where none is named, any may be to blame. */
function toBlamed(answer: Answer): readonly Outcome[] {
  const errors = isJson(answer) ? toApiErrors(answer.bodyText) : [];
  const blamed = new Map<number, { error: ApiError; place: Place }[]>();
  for (const error of errors) {
    const place = toPlace(answer.lane, error.pointer);
    if (place === null || place.index >= answer.count) continue;
    blamed.set(place.index, [...(blamed.get(place.index) ?? []), { error, place }]);
  }
  const otherwise = reasonFor(answer, 'rejected');
  if (blamed.size === 0) {
    const outcome: Outcome =
      answer.count === 1
        ? { kind: 'rejected', reason: otherwise }
        : { kind: 'unblamed', method: 'bisect', reason: otherwise };
    return all(answer, outcome);
  }
  const innocent: Outcome = { kind: 'unblamed', method: 'pointer', reason: otherwise };
  return Array.from({ length: answer.count }, (_, index): Outcome => {
    const own = blamed.get(index);
    if (own === undefined) return innocent;
    const faults = own.map(({ error, place }) => ({
      pointer: place.pointer,
      detail: error.detail,
    }));
    return {
      kind: 'rejected',
      reason: toReason(
        own.map(({ error }) => error),
        otherwise,
        faults,
      ),
    };
  });
}

function reasonFor(answer: Answer, code: string): Reason {
  const otherwise: Reason = {
    code,
    detail: `Klaviyo answered ${answer.status}`,
    status: answer.status,
  };
  return isJson(answer) ? toReason(toApiErrors(answer.bodyText), otherwise) : otherwise;
}
