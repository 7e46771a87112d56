import { z } from 'zod';
import { endpoints } from './endpoints.js';
import type { Endpoint } from './endpoints.js';
import type { Retirement } from './revisions.js';

/** A mark that makes one record bad, whatever Klaviyo itself would think of it. */
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

/** Takes a revision, and every older one, out of service. */
const retireSchema = z.strictObject({
  revision: z.iso.date(),
  answer: z
    .enum(['forward', 'gone'])
    .default('forward')
    .describe('With the next revision that is not retired, or with 410'),
  heedsOptOut: z
    .boolean()
    .default(true)
    .describe('A request that opts out of falling forward gets 410'),
  named: z
    .boolean()
    .default(true)
    .describe('The answer names the revision that was used, in its header `revision`'),
});

/**
 * One scripted fault. Without `poison` it strikes whole requests; with it, requests that carry a
 * matching record (`at: request`: a 400, or the effect the rule names) or that record alone (`at: job`);
 * with `retire`, requests that ask for a revision that is out of service.
 */
export const faultRuleSchema = z
  .strictObject({
    endpoint: z.enum([...endpoints, 'any']).default('any'),
    times: z.int().min(1).optional().describe('Strikes so often, then is spent; unlimited without'),
    skip: z.int().min(0).default(0).describe('Lets so many requests pass first'),
    probability: z.number().min(0).max(1).default(1),
    status: z.int().min(200).max(599).optional(),
    retryAfter: z
      .int()
      .min(0)
      .nullable()
      .optional()
      .describe('Seconds; null leaves the header out; 1 where a 429 says nothing else'),
    delayMs: z.int().min(0).max(600_000).optional().describe('Answer so much later'),
    reset: z
      .enum(['before', 'after'])
      .optional()
      .describe('Cut the connection before the body is read, or after the request was done'),
    html: z.boolean().default(false).describe('Answer as Cloudflare does; 403 without a status'),
    body: z.unknown().optional().describe('JSON to answer with'),
    withPointers: z.boolean().default(false).describe('Blame the first record of the request'),
    poison: poisonSchema.optional(),
    retire: retireSchema.optional(),
  })
  .superRefine((rule, context) => {
    const refuse = (path: string, message: string): void =>
      context.addIssue({ code: 'custom', path: [path], message });
    if (!hasEffect(rule) && rule.poison === undefined && rule.retire === undefined) {
      refuse('', 'must do something: status, delayMs, reset, html, body, poison or retire');
    }
    if (rule.retire !== undefined && doesMoreThanRetire(rule)) {
      refuse('retire', 'goes with no other effect but body, which its 410 carries');
    }
    if (rule.poison !== undefined && rule.reset === 'before') {
      refuse('reset', 'must be after with poison: the body has to be read to find it');
    }
    if (rule.reset !== undefined && isAnswering(rule)) {
      refuse('reset', 'goes with no answer: leave out status, html and body');
    }
    if (rule.poison?.at !== 'job') return;
    if (hasEffect(rule)) refuse('poison', 'at job has no other effect: the request succeeds');
    if (rule.endpoint !== 'any' && rule.endpoint !== 'bulk-profiles') {
      refuse('endpoint', 'must be bulk-profiles or any where poison strikes in the job');
    }
  });

export const faultScriptSchema = z.array(faultRuleSchema);

/** As a script or a test writes it: most members have defaults. */
export type FaultRule = z.input<typeof faultRuleSchema>;
export type FaultScript = readonly FaultRule[];
/** As the sandbox reads it, defaults filled in. */
export type FaultEffect = z.output<typeof faultRuleSchema>;
export type Poison = z.output<typeof poisonSchema>;

/** Thrown by `toFaultRules`: every problem of a script at once, each with its place. */
export class FaultScriptError extends Error {
  readonly problems: readonly string[];

  constructor(problems: readonly string[]) {
    super(`fault script is not usable:\n${problems.map((problem) => `  - ${problem}`).join('\n')}`);
    this.name = 'FaultScriptError';
    this.problems = problems;
  }
}

/** One rule or a list of them, checked. Throws FaultScriptError. */
export function toFaultRules(script: unknown): readonly FaultEffect[] {
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

/** True where the rule does something to the request, besides what `poison` and `retire` say. */
export function hasEffect(rule: Effects): boolean {
  return isAnswering(rule) || rule.reset !== undefined || rule.delayMs !== undefined;
}

/** True where the rule answers in Klaviyo's place; a delay alone lets the request be done. */
export function isAnswering(rule: Effects): boolean {
  return rule.status !== undefined || rule.html || rule.body !== undefined;
}

function doesMoreThanRetire(rule: FaultEffect): boolean {
  return rule.poison !== undefined || hasEffect({ ...rule, body: undefined });
}

/** A rule and how often it struck. */
export type ActiveFault = FaultEffect & { readonly hits: number };

/** A poison rule that is on for this endpoint; `strike` counts a request that carries a match. */
export type ActivePoison = {
  readonly rule: FaultEffect;
  readonly poison: Poison;
  readonly strike: () => boolean;
};

/** The rules that are on, in the order they were added. */
export type Faults = {
  add(rules: readonly FaultEffect[]): void;
  clear(): void;
  list(): readonly ActiveFault[];
  /** The first rule without poison or retirement that strikes this request; counted. */
  next(endpoint: Endpoint): FaultEffect | null;
  /** How the revision of that date is retired for this request, null where it is in service; counted. */
  retirement(endpoint: Endpoint, date: string): Retirement | null;
  poisons(endpoint: Endpoint): readonly ActivePoison[];
};

type State = { readonly rule: FaultEffect; seen: number; hits: number };

/** `random`: numbers in [0, 1), seeded so that a run can be repeated. */
export function createFaults(random: () => number): Faults {
  let states: State[] = [];

  const concerns = ({ rule, hits }: State, endpoint: Endpoint): boolean =>
    (rule.endpoint === 'any' || rule.endpoint === endpoint) &&
    (rule.times === undefined || hits < rule.times);

  const strike = (state: State): boolean => {
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
    next(endpoint) {
      const found = states.find(
        (state) =>
          state.rule.poison === undefined &&
          state.rule.retire === undefined &&
          concerns(state, endpoint) &&
          strike(state),
      );
      return found?.rule ?? null;
    },
    retirement(endpoint, date) {
      for (const state of states) {
        const { retire, body } = state.rule;
        if (retire === undefined || date > retire.revision) continue;
        if (concerns(state, endpoint) && strike(state)) return { ...retire, body };
      }
      return null;
    },
    poisons(endpoint) {
      return states.flatMap((state) => {
        const { poison } = state.rule;
        if (poison === undefined || !concerns(state, endpoint)) return [];
        return [{ rule: state.rule, poison, strike: () => strike(state) }];
      });
    },
  };
}

/** Mulberry32: small, even enough for faults, the same on every machine. */
export function createSeededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
