/**
 * Interprets the relay's response to a batch: what the import does next depends on the kind of the
 * result.
 */

import { z } from 'zod';
import type { Issue } from '../model/outcome.js';

/** What the relay did with a batch. */
export type RelayResult =
  | {
      readonly kind: 'accepted';
      readonly accepted: number;
      readonly duplicates: number;
      /** Accepted entries of which a part was left out. */
      readonly warned: number;
      readonly rejected: Rejected;
    }
  /** Nothing was accepted. `rejected` is empty if the issue concerns no particular entry. */
  | { readonly kind: 'invalid'; readonly rejected: Rejected; readonly detail: string }
  | { readonly kind: 'too-large'; readonly detail: string }
  /** The relay asks for a pause. */
  | { readonly kind: 'wait'; readonly waitMs: number; readonly detail: string }
  /** The outcome is unknown. Posting the batch again is safe. */
  | { readonly kind: 'failed'; readonly detail: string }
  /** Another attempt would have the same result. */
  | { readonly kind: 'stop'; readonly detail: string };

/** By index in the batch, from 0. */
export type Rejected = ReadonlyMap<number, readonly Issue[]>;

export type HttpResult = {
  readonly status: number;
  readonly retryAfter: string | null;
  readonly text: string;
  /** Epoch ms, for a Retry-After with a date. */
  readonly now: number;
};

const issueSchema = z.object({ pointer: z.string(), detail: z.string() });

/** The parts of the relay's 202 that the import uses. */
const acceptedSchema = z.object({
  accepted: z.int(),
  duplicates: z.int(),
  rejected: z.array(z.object({ index: z.int(), errors: z.array(issueSchema) })),
  warnings: z.array(z.unknown()).default([]),
});

const problemSchema = z.object({
  type: z.string().startsWith('urn:klaviyo-relay:problem:'),
  detail: z.string(),
  errors: z.array(issueSchema).default([]),
});

type Problem = z.output<typeof problemSchema>;

/** A problem that is not from a relay is interpreted by its status alone. */
export function parseRelayResponse(raw: HttpResult): RelayResult {
  const { status, text } = raw;
  if (status === 202) return parseAccepted(text);
  const problem = parseAs(problemSchema, text);
  const detail = `${status}${problem === null ? '' : `: ${problem.detail}`}`;
  if (status === 429 || status === 503) return readRetryAfter(raw, detail);
  if (status === 408 || status >= 500) return { kind: 'failed', detail };
  if (status === 413) return { kind: 'too-large', detail };
  if (status === 400 && problem !== null) {
    return { kind: 'invalid', rejected: groupByIndex(problem.errors), detail: problem.detail };
  }
  return { kind: 'stop', detail: describeStop(status, problem) };
}

function parseAccepted(text: string): RelayResult {
  const body = parseAs(acceptedSchema, text);
  if (body === null) return { kind: 'stop', detail: notARelay };
  const { accepted, duplicates, rejected, warnings } = body;
  const byIndex = new Map(rejected.map(({ index, errors }) => [index, errors]));
  return { kind: 'accepted', accepted, duplicates, warned: warnings.length, rejected: byIndex };
}

/** The pointers of a 400 start with the index of the entry. */
function groupByIndex(errors: Problem['errors']): Rejected {
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

/** Bounds for Retry-After: the shortest and the longest wait. */
const shortestWaitMs = 1000;
const longestWaitMs = 300_000;

function readRetryAfter({ retryAfter, now }: HttpResult, detail: string): RelayResult {
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

const notARelay = 'the server at this URL is not a relay: check --url';

const hints: Readonly<Record<number, string>> = {
  401: 'set RELAY_API_KEY or --key-file to one of its RELAY_API_KEYS',
  403: 'check the key',
  404: notARelay,
};

function describeStop(status: number, problem: Problem | null): string {
  const hint = hints[status] ?? (problem === null ? notARelay : null);
  const words =
    problem === null
      ? `the server responds with ${status}`
      : `the server responds with ${status}: ${problem.detail}`;
  return hint === null ? words : `${words} (${hint})`;
}

function parseAs<T>(schema: z.ZodType<T>, text: string): T | null {
  try {
    return schema.safeParse(JSON.parse(text)).data ?? null;
  } catch {
    return null;
  }
}
