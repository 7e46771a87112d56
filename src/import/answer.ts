import { z } from 'zod';
import type { Issue } from '../model/outcome.js';

/** What the relay made of a batch. */
export type Answer =
  | {
      readonly kind: 'accepted';
      readonly accepted: number;
      readonly duplicates: number;
      /** Taken, with something left out. */
      readonly warned: number;
      readonly rejected: Rejected;
    }
  /** Nothing was taken. `rejected` is empty where the fault is of no entry in particular. */
  | { readonly kind: 'invalid'; readonly rejected: Rejected; readonly detail: string }
  | { readonly kind: 'too-large'; readonly detail: string }
  /** It asks to be left alone for so long. */
  | { readonly kind: 'wait'; readonly waitMs: number; readonly detail: string }
  /** Nothing is known to be taken; posting it again is safe. */
  | { readonly kind: 'failed'; readonly detail: string }
  /** It will be the same the next time. */
  | { readonly kind: 'stop'; readonly detail: string };

/** By place in the batch, from 0. */
export type Rejected = ReadonlyMap<number, readonly Issue[]>;

export type RawAnswer = {
  readonly status: number;
  readonly retryAfter: string | null;
  readonly text: string;
  /** Epoch ms, for a Retry-After that is a date. */
  readonly now: number;
};

const fault = z.object({ pointer: z.string(), detail: z.string() });

/** See takenManySchema in http/answers.ts; what is not used here is not asked for. */
const taken = z.object({
  accepted: z.int(),
  duplicates: z.int(),
  rejected: z.array(z.object({ index: z.int(), errors: z.array(fault) })),
  warnings: z.array(z.unknown()).default([]),
});

const problem = z.object({
  type: z.string().startsWith('urn:klaviyo-relay:problem:'),
  detail: z.string(),
  errors: z.array(fault).default([]),
});

type Problem = z.output<typeof problem>;

/** What an HTTP answer means. A problem that is not of a relay is judged by its status alone. */
export function toAnswer(raw: RawAnswer): Answer {
  const { status, text } = raw;
  if (status === 202) return toTaken(text);
  const told = parse(problem, text);
  const detail = `${status}${told === null ? '' : `: ${told.detail}`}`;
  if (status === 429 || status === 503) return toWait(raw, detail);
  if (status === 408 || status >= 500) return { kind: 'failed', detail };
  if (status === 413) return { kind: 'too-large', detail };
  if (status === 400 && told !== null) {
    return { kind: 'invalid', rejected: toRejected(told.errors), detail: told.detail };
  }
  return { kind: 'stop', detail: toStop(status, told) };
}

function toTaken(text: string): Answer {
  const answer = parse(taken, text);
  if (answer === null) return { kind: 'stop', detail: notARelay };
  const { accepted, duplicates, rejected, warnings } = answer;
  const byIndex = new Map(rejected.map(({ index, errors }) => [index, errors]));
  return { kind: 'accepted', accepted, duplicates, warned: warnings.length, rejected: byIndex };
}

/** The pointers of a 400 start with the place of the entry. */
function toRejected(errors: Problem['errors']): Rejected {
  const rejected = new Map<number, Issue[]>();
  for (const { pointer, detail } of errors) {
    const [, index, rest = ''] = /^\/(\d+)(\/.*)?$/s.exec(pointer) ?? [];
    if (index === undefined) return new Map();
    const faults = rejected.get(Number(index)) ?? [];
    faults.push({ pointer: rest, detail });
    rejected.set(Number(index), faults);
  }
  return rejected;
}

/** Nobody is asked more often than this, or left alone for longer than they may have meant. */
const shortestWaitMs = 1000;
const longestWaitMs = 300_000;

function toWait({ retryAfter, now }: RawAnswer, detail: string): Answer {
  if (retryAfter === null) return { kind: 'failed', detail };
  const isSeconds = /^\d+$/.test(retryAfter);
  const waitMs = isSeconds ? Number(retryAfter) * 1000 : Date.parse(retryAfter) - now;
  if (Number.isNaN(waitMs)) return { kind: 'failed', detail };
  return {
    kind: 'wait',
    waitMs: Math.min(Math.max(waitMs, shortestWaitMs), longestWaitMs),
    detail,
  };
}

const notARelay = 'what answers there is no relay: look at --url';

const hints: Readonly<Record<number, string>> = {
  401: 'set RELAY_API_KEY or --key-file to one of its RELAY_API_KEYS',
  403: 'look at the key',
  404: notARelay,
};

function toStop(status: number, told: Problem | null): string {
  const hint = hints[status] ?? (told === null ? notARelay : null);
  const words = told === null ? `it answers ${status}` : `it answers ${status}: ${told.detail}`;
  return hint === null ? words : `${words} (${hint})`;
}

function parse<T>(schema: z.ZodType<T>, text: string): T | null {
  try {
    return schema.safeParse(JSON.parse(text)).data ?? null;
  } catch {
    return null;
  }
}
