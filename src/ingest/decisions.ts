import type { Fact } from '../model/fact.js';
import { readDecidedAt, readGroup } from '../model/group.js';
import type { DraftedSourceEntry } from './draft-source-entry.js';
import { toFactKey, type GetFacts } from './facts.js';
import type { Skipped, SourceEntry, SourcePost } from './source-entry.js';

/**
 * Some sources repeat the state of a consent with every change of something else: Shopify sends the consent of
 * a customer with each order. Klaviyo lifts suppressions of a person who is subscribed again, so a repeated
 * state must not be sent again. The newest accepted state of each name is a fact. A state is skipped if it
 * equals the fact, or if its time is before that of the fact, because webhooks overtake each other.
 */

export type NewDecisions = {
  readonly post: SourcePost;
  readonly drafted: readonly DraftedSourceEntry[];
  /** To be stored once the drafts are: a request that failed must not look like a repeated state. */
  readonly facts: readonly Fact[];
};

/** Leaves out the entries whose state is known or older than the known one, and adds their skips. */
export async function keepNewDecisions(
  post: SourcePost,
  drafted: readonly DraftedSourceEntry[],
  getFacts: GetFacts,
): Promise<NewDecisions> {
  const states = post.entries.map((entry, at) => toState(post.source, entry, drafted[at]));
  const keys = [...new Set(states.flatMap((state) => state?.key ?? []))];
  if (keys.length === 0) return { post, drafted, facts: [] };
  const found = await getFacts(keys);
  const known = new Map(keys.map((key, at) => [key, found[at] ?? null]));
  const facts = new Map<string, Fact>();
  const skipped: Skipped[] = [];
  const isKept = states.map((state, at) => {
    if (state === undefined) return true;
    const reason = findReason(state, known.get(state.key) ?? null);
    const { kind, id } = post.entries[at] ?? {};
    if (reason !== null) skipped.push({ reason, kind, id });
    else {
      known.set(state.key, state.value);
      facts.set(state.key, { kind: 'decision', key: state.key, value: state.value });
    }
    return reason === null;
  });
  return {
    post: {
      ...post,
      entries: post.entries.filter((_entry, at) => isKept[at]),
      skipped: [...post.skipped, ...skipped],
    },
    drafted: drafted.filter((_one, at) => isKept[at]),
    facts: [...facts.values()],
  };
}

type State = {
  readonly key: string;
  /** Epoch ms. Null: the source gives no time. */
  readonly decidedAt: number | null;
  /** The time, the decision, and hashes of the person's identifiers. */
  readonly value: string;
};

/** Undefined for an entry that is no state, or that is not sent. */
function toState(
  source: string,
  { decision, entry }: SourceEntry,
  drafted: DraftedSourceEntry | undefined,
): State | undefined {
  const draft = drafted?.draft;
  const isSent = draft?.lane === 'subscribe' || draft?.lane === 'unsubscribe';
  if (decision?.state === undefined || !isSent || draft.deadLetterReason !== undefined) {
    return undefined;
  }
  const { lane, payload, keys } = draft;
  const isTimed = (entry.consented_at ?? entry.unsubscribed_at) !== undefined;
  const decidedAt = isTimed ? readDecidedAt(payload) : null;
  return {
    key: toFactKey(source, 'decision', decision.state),
    decidedAt,
    value: [decidedAt ?? '', lane, readGroup(payload), ...keys].join(' '),
  };
}

function findReason({ decidedAt, value }: State, known: string | null): string | null {
  if (known === null) return null;
  if (known === value) return 'consent_unchanged';
  const knownAt = Number(known.slice(0, known.indexOf(' ')));
  return decidedAt !== null && decidedAt < knownAt ? 'consent_outdated' : null;
}
