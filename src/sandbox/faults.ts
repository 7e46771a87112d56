/**
 * Scripted faults: rules that make the sandbox fail on purpose, from a file (`--faults`), from the
 * options or from `POST /sandbox/faults`. A rule applies to requests to its endpoint after `skip`
 * of them, with its probability, at most `times` times. Rules are tried in the order in which they
 * were added. docs/reference/sandbox.md describes them for users.
 */

import { z } from 'zod';
import { endpoints } from './endpoints.js';
import type { Endpoint } from './endpoints.js';
import type { Retirement } from './revisions.js';

/** Marks one record as invalid, whatever Klaviyo would say about it. */
const poisonSchema = z.strictObject({
  when: z
    .strictObject({
      path: z
        .string()
        .min(1)
        .describe('`email`, `properties.marker`, or a JSON Pointer `/properties/a.b`'),
      equals: z.union([z.string(), z.number(), z.boolean(), z.null()]),
    })
    .describe("Looked up in an event's attributes, then in its profile's"),
  pointer: z.enum(['exact', 'prefix', 'none']).default('exact'),
  at: z.enum(['request', 'job']).default('request'),
  detail: z.string().default('Invalid input'),
});

/** Retires a revision and all older ones. */
const retireSchema = z.strictObject({
  revision: z.iso.date(),
  answer: z
    .enum(['forward', 'gone'])
    .default('forward')
    .describe('Forward to the next revision that is not retired, or respond with 410'),
  heedsOptOut: z
    .boolean()
    .default(true)
    .describe('A request that opts out of falling forward gets 410'),
  named: z
    .boolean()
    .default(true)
    .describe('The response names the revision that was used, in its header `revision`'),
});

/**
 * One scripted fault. Without `poison` it applies to whole requests. With `poison` it applies to
 * requests that carry a matching record (`at: request`: a 400, or the effect of the rule) or to
 * that record alone (`at: job`). With `retire` it applies to requests for a retired revision.
 */
export const faultRuleSchema = z
  .strictObject({
    endpoint: z.enum([...endpoints, 'any']).default('any'),
    times: z
      .int()
      .min(1)
      .optional()
      .describe('Applies at most this many times; unlimited by default'),
    skip: z.int().min(0).default(0).describe('Does not apply to this many requests first'),
    probability: z.number().min(0).max(1).default(1),
    status: z.int().min(200).max(599).optional(),
    retryAfter: z
      .int()
      .min(0)
      .nullable()
      .optional()
      .describe('Seconds; null omits the header; a 429 has 1 by default'),
    delayMs: z.int().min(0).max(600_000).optional().describe('Delays the response'),
    reset: z
      .enum(['before', 'after'])
      .optional()
      .describe(
        'Resets the connection before the body is read, or after the request was processed',
      ),
    html: z
      .boolean()
      .default(false)
      .describe('Responds with an HTML page as Cloudflare does; 403 by default'),
    body: z.unknown().optional().describe('JSON to respond with'),
    withPointers: z.boolean().default(false).describe('Points to the first record of the request'),
    poison: poisonSchema.optional(),
    retire: retireSchema.optional(),
  })
  .superRefine((rule, context) => {
    const addIssue = (path: string, message: string): void =>
      context.addIssue({ code: 'custom', path: [path], message });
    if (!hasEffect(rule) && rule.poison === undefined && rule.retire === undefined) {
      addIssue('', 'must do something: status, delayMs, reset, html, body, poison or retire');
    }
    if (rule.retire !== undefined && hasOtherEffects(rule)) {
      addIssue('retire', 'goes with no other effect but body, which its 410 carries');
    }
    if (rule.poison !== undefined && rule.reset === 'before') {
      addIssue('reset', 'must be after with poison: the body has to be read to find it');
    }
    if (rule.reset !== undefined && hasResponse(rule)) {
      addIssue('reset', 'goes with no answer: leave out status, html and body');
    }
    if (rule.poison?.at !== 'job') return;
    if (hasEffect(rule)) addIssue('poison', 'at job has no other effect: the request succeeds');
    if (!['any', 'bulk-profiles', 'catalog'].includes(rule.endpoint)) {
      addIssue('endpoint', 'must be bulk-profiles, catalog or any if poison is at job');
    }
  });

export const faultScriptSchema = z.array(faultRuleSchema);

/** A rule as a script or a test writes it: most members have defaults. */
export type FaultRule = z.input<typeof faultRuleSchema>;
export type FaultScript = readonly FaultRule[];
/** A rule with its defaults filled in. */
export type FaultEffect = z.output<typeof faultRuleSchema>;
export type Poison = z.output<typeof poisonSchema>;

/** Thrown by `parseFaultRules`. Lists every problem of a script with its place. */
export class FaultScriptError extends Error {
  readonly problems: readonly string[];

  constructor(problems: readonly string[]) {
    super(`fault script is not usable:\n${problems.map((problem) => `  - ${problem}`).join('\n')}`);
    this.name = 'FaultScriptError';
    this.problems = problems;
  }
}

/** Parses one rule or a list of rules. Throws FaultScriptError. */
export function parseFaultRules(script: unknown): readonly FaultEffect[] {
  const parsed = faultScriptSchema.safeParse(Array.isArray(script) ? script : [script]);
  if (parsed.success) return parsed.data;
  throw new FaultScriptError(
    parsed.error.issues.map((issue) => {
      const place = issue.path.filter((part) => part !== '').join('.');
      return `rule ${place}: ${issue.message}`;
    }),
  );
}

type Effects = Omit<FaultEffect, 'poison' | 'retire'>;

/** Returns true if the rule affects the request by more than `poison` and `retire`. */
export function hasEffect(rule: Effects): boolean {
  return hasResponse(rule) || rule.reset !== undefined || rule.delayMs !== undefined;
}

/** Returns true if the rule replaces Klaviyo's response. A rule that only delays does not. */
export function hasResponse(rule: Effects): boolean {
  return rule.status !== undefined || rule.html || rule.body !== undefined;
}

function hasOtherEffects(rule: FaultEffect): boolean {
  return rule.poison !== undefined || hasEffect({ ...rule, body: undefined });
}

/** A rule and how often it applied. */
export type ActiveFault = FaultEffect & { readonly hits: number };

/**
 * A poison rule that is active for this endpoint. `tryApply` counts a request with a matching
 * record and returns true if the rule applies to it.
 */
export type ActivePoison = {
  readonly rule: FaultEffect;
  readonly poison: Poison;
  readonly tryApply: () => boolean;
};

/** The active rules, in the order in which they were added. */
export type Faults = {
  add(rules: readonly FaultEffect[]): void;
  clear(): void;
  list(): readonly ActiveFault[];
  /** The first rule without `poison` or `retire` that applies to this request. Counts it. */
  applyNext(endpoint: Endpoint): FaultEffect | null;
  /**
   * How the revision of this date is retired for this request; null if it is not. Counts the rule.
   */
  applyRetirement(endpoint: Endpoint, date: string): Retirement | null;
  listPoisons(endpoint: Endpoint): readonly ActivePoison[];
};

type RuleState = { readonly rule: FaultEffect; seen: number; hits: number };

/** `random` returns numbers in [0, 1). It is seeded, so that a run can be repeated. */
export function createFaults(random: () => number): Faults {
  let states: RuleState[] = [];

  const isActiveFor = ({ rule, hits }: RuleState, endpoint: Endpoint): boolean =>
    (rule.endpoint === 'any' || rule.endpoint === endpoint) &&
    (rule.times === undefined || hits < rule.times);

  const tryApply = (state: RuleState): boolean => {
    if (state.rule.times !== undefined && state.hits >= state.rule.times) return false;
    if (state.seen++ < state.rule.skip) return false;
    if (state.rule.probability < 1 && random() >= state.rule.probability) return false;
    state.hits++;
    return true;
  };

  return {
    add: (rules) => void states.push(...rules.map((rule) => ({ rule, seen: 0, hits: 0 }))),
    clear: () => {
      states = [];
    },
    list: () => states.map(({ rule, hits }) => ({ ...rule, hits })),
    applyNext(endpoint) {
      const found = states.find(
        (state) =>
          state.rule.poison === undefined &&
          state.rule.retire === undefined &&
          isActiveFor(state, endpoint) &&
          tryApply(state),
      );
      return found?.rule ?? null;
    },
    applyRetirement(endpoint, date) {
      for (const state of states) {
        const { retire, body } = state.rule;
        if (retire === undefined || date > retire.revision) continue;
        if (isActiveFor(state, endpoint) && tryApply(state)) return { ...retire, body };
      }
      return null;
    },
    listPoisons(endpoint) {
      return states.flatMap((state) => {
        const { poison } = state.rule;
        if (poison === undefined || !isActiveFor(state, endpoint)) return [];
        return [{ rule: state.rule, poison, tryApply: () => tryApply(state) }];
      });
    },
  };
}

/** Mulberry32: small, uniform enough for faults, and the same on every machine. */
export function createSeededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
