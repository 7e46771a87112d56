/**
 * Tries out requests: the accept half of the relay over a store in memory. Facts of one request
 * apply to later ones, and nothing is sent. `klaviyo-relay map` uses it.
 */

import type { IncomingHttpHeaders } from 'node:http';
import type { Clock } from '../clock.js';
import type { Config } from '../config/config.js';
import type { Draft } from '../model/envelope.js';
import type { Fact } from '../model/fact.js';
import type { Issue } from '../model/outcome.js';
import type { PostedLane, StoreLane } from '../model/lane.js';
import { createAccept } from '../ingest/accept.js';
import type { Store } from '../model/store.js';
import { createAcceptFromSource } from '../ingest/accept-from-source.js';
import { type FactStore, toFactKey } from '../ingest/facts.js';
import { unknownPerson } from '../ingest/draft-source-entry.js';
import type { Skipped, SourceEntry, SourcePost, SourceWarning } from '../ingest/source-entry.js';
import { parseJson, stringifyJson, type JsonObject } from '../json/json.js';
import { CurrentRevision, toRules } from '../klaviyo/revision.js';
import { createMetrics } from '../metrics.js';
import { sources, type SourceName } from '../sources/list.js';
import { applyMapping } from '../sources/mapping/mapping.js';
import { version } from './version.js';

/** An input as a request to a relay. */
export type TriedRequest =
  | {
      readonly kind: 'source';
      readonly name: SourceName;
      readonly path: string;
      readonly headers: IncomingHttpHeaders;
      readonly body: unknown;
    }
  | PlainRequest;

export type PlainRequest = {
  readonly kind: 'plain';
  readonly lane: PostedLane;
  readonly body: unknown;
};

/** What one event or profile would become. */
export type TriedEntry = {
  readonly lane: StoreLane;
  /** `waiting`: held until a later request identifies the person. */
  readonly outcome: 'sent' | 'waiting' | 'dead_letter';
  /** As a caller of the relay would post it. */
  readonly entry: JsonObject;
  /** Klaviyo's JSON. Null if nothing is sent. */
  readonly klaviyo: unknown;
  /** The keys under which the person is looked up. */
  readonly personKeys: readonly string[];
  readonly reason: string | null;
  readonly errors: readonly Issue[];
};

/** What one request would become. */
export type Tried = {
  readonly source: string;
  readonly topic: string | null;
  readonly entries: readonly TriedEntry[];
  readonly warnings: readonly (Omit<SourceWarning, 'code'> & { readonly code: string | null })[];
  readonly skipped: readonly Skipped[];
  /**
   * The facts kept for later requests. `name` is null if the fact belongs to more than this
   * request.
   */
  readonly facts: readonly {
    readonly kind: string;
    readonly name: string | null;
    readonly value: string;
  }[];
  /** Why the whole request would be rejected. */
  readonly errors: readonly Issue[];
  /** True if the request repeats an earlier one of the file. */
  readonly repeat: boolean;
};

export type Trial = {
  source(request: Extract<TriedRequest, { kind: 'source' }>): Promise<Tried>;
  plain(request: PlainRequest): Promise<Tried>;
};

export type TrialDeps = {
  readonly config: Config;
  readonly clock: Clock;
  readonly newId: () => string;
};

const nothing: Omit<Tried, 'source'> = {
  topic: null,
  entries: [],
  warnings: [],
  skipped: [],
  facts: [],
  errors: [],
  repeat: false,
};

export function createTrial({ config, clock, newId }: TrialDeps): Trial {
  const metrics = createMetrics(version);
  const memory = new TrialMemory();
  const revision = new CurrentRevision({
    setting: config.KLAVIYO_REVISION,
    now: clock.now(),
    onMove: () => undefined,
  });
  const deps = {
    store: memory,
    clock,
    metrics,
    newId,
    defaultCountry: config.DEFAULT_PHONE_COUNTRY,
    eventRules: () => toRules(revision.current),
    backfillAfterMs: config.BACKFILL_AFTER,
  };
  const accept = createAccept(deps);
  /** The accepted post, after the facts and the mapping file were applied. */
  let shaped: Pick<SourcePost, 'entries' | 'skipped'> = { entries: [], skipped: [] };
  const acceptFromSource = createAcceptFromSource({
    ...deps,
    activity: { add: (post) => (shaped = post) },
    applyMapping: (post) => applyMapping(post, config.MAPPING_FILE ?? {}),
  });

  return {
    async source({ name, ...request }) {
      const source = sources.find((each) => each.name === name);
      if (source === undefined) throw new Error(`unknown source ${name}`);
      const mapped = source.map({ ...request, receivedAt: clock.now() }, config);
      if (!mapped.ok) return { ...nothing, source: name, errors: mapped.errors };
      const { post } = mapped;
      memory.begin();
      const accepted = await acceptFromSource(post, { strict: false });
      const described = { ...nothing, source: name, topic: post.topic ?? null };
      if (accepted.kind !== 'accepted') {
        const errors =
          accepted.kind === 'invalid'
            ? accepted.rejected.flatMap((each) => each.errors)
            : [{ pointer: '', detail: `is rejected: ${accepted.reason}` }];
        return { ...described, errors };
      }
      if (accepted.repeat) return { ...described, repeat: true };
      return {
        ...described,
        entries: memory.drafts.map((draft, at) => describeDraft(draft, shaped.entries[at])),
        warnings: accepted.warnings.map(({ code, pointer, detail }) => ({ code, pointer, detail })),
        skipped: shaped.skipped,
        facts: memory.facts.map((fact) => describeFact(fact, post)),
      };
    },

    async plain({ lane, body }) {
      memory.begin();
      const result = await accept.one(lane, stringifyJson(body), {});
      if (result.kind === 'backpressure') throw new Error('the store in memory accepts everything');
      if (result.kind === 'invalid') return { ...nothing, source: lane, errors: result.errors };
      const entry = body as JsonObject;
      return {
        ...nothing,
        source: lane,
        entries: memory.drafts.map((draft) => describeDraft(draft, { lane, index: 0, entry })),
        warnings: result.warnings.map((issue) => ({ code: null, ...issue })),
      };
    },
  };
}

/** A store that accepts everything, keeps all facts, and shows what it received since `begin`. */
class TrialMemory implements FactStore {
  readonly #values = new Map<string, string>();
  drafts: readonly Draft[] = [];
  facts: readonly Fact[] = [];
  #count = 0;

  begin(): void {
    this.drafts = [];
    this.facts = [];
  }

  readonly append: Store['append'] = (given) => {
    this.drafts = [...this.drafts, ...given];
    const envelopes = given.map(() => ({ id: String(++this.#count), duplicate: false }));
    return Promise.resolve({ ok: true, envelopes });
  };

  readonly putFacts: FactStore['putFacts'] = (given) => {
    for (const { key, value } of given) this.#values.set(key, value);
    this.facts = [...this.facts, ...given];
    return Promise.resolve({ ok: true });
  };

  readonly getFacts: FactStore['getFacts'] = (keys) =>
    Promise.resolve(keys.map((key) => this.#values.get(key) ?? null));
}

function describeDraft(draft: Draft, sourceEntry: SourceEntry | undefined): TriedEntry {
  const { deadLetterReason } = draft;
  const isWaiting = deadLetterReason?.code === unknownPerson;
  return {
    lane: sourceEntry?.lane ?? draft.lane,
    outcome: deadLetterReason === undefined ? 'sent' : isWaiting ? 'waiting' : 'dead_letter',
    entry: sourceEntry?.entry ?? {},
    klaviyo: deadLetterReason === undefined ? toJson(draft.payload) : null,
    personKeys: sourceEntry?.personKeys ?? [],
    reason: deadLetterReason?.code ?? null,
    errors: deadLetterReason?.faults ?? [],
  };
}

function toJson(payload: Uint8Array): unknown {
  const parsed = parseJson(Buffer.from(payload).toString());
  return parsed.ok ? parsed.value : null;
}

function describeFact({ kind, key, value }: Fact, post: SourcePost): Tried['facts'][number] {
  const { source, people, ledger, delivery } = post;
  const known = people.find((each) => toFactKey(source, 'person', each.key) === key)?.key;
  const isLedger = ledger !== undefined && toFactKey(source, 'ledger', ledger.key) === key;
  const isDelivery = delivery !== undefined && toFactKey(source, 'delivery', delivery) === key;
  const name = known ?? (isLedger ? ledger.key : isDelivery ? delivery : null);
  return { kind: isLedger ? 'ledger' : kind, name, value };
}

/** Returns true if something would be rejected or become a dead letter. */
export function hasRejection({ errors, entries }: Tried): boolean {
  return errors.length > 0 || entries.some(({ outcome }) => outcome === 'dead_letter');
}
