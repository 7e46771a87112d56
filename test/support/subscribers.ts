import { isJsonObject, type JsonObject } from '../../src/json/json.js';
import type { ConsentRecord } from '../../src/sandbox/consent.js';
import { createSeededRandom } from '../../src/sandbox/faults.js';
import type { ProfileView, SandboxState } from '../../src/sandbox/snapshot.js';
import { below, pick } from './seeded-load.js';

/**
 * A load for all lanes, beside `seeded-load.ts`: each subscriber does one thing after the other, in an order
 * that follows from the seed. The state at Klaviyo after all of it is known, because only one caller posts
 * for a subscriber. So every exchange of their order across lanes stays visible.
 */
export const subscriberCount = 9;

/**
 * From this number on, a subscriber is erased after a few steps and does nothing afterwards: Klaviyo deletes a
 * person some time after the request, with whatever it got meanwhile.
 */
export const firstLeaver = 1000;

/** The step in which a subscriber is erased; Infinity for one that stays. */
export const toLastStep = (seed: number, subscriber: number): number =>
  subscriber < firstLeaver ? Infinity : 1 + below(createSeededRandom(seed + subscriber * 7901), 8);

/** What a subscriber does in one step. */
type ActionKind =
  | 'update'
  | 'event'
  | 'subscribe'
  | 'join'
  | 'import'
  | 'unsubscribe'
  | 'unsubscribe-list'
  | 'clear'
  | 'append'
  | 'add'
  | 'remove'
  | 'suppress'
  | 'unsuppress'
  | 'erase';

export type Action = {
  readonly kind: ActionKind;
  readonly path: string;
  readonly body: JsonObject;
};

/** Only email marketing has suppressions and consent for single lists, so it shows most. */
const channels = { email: ['marketing'] };
const lists = ['ListA', 'ListB'] as const;

const toEmail = (subscriber: number): string => `subscriber-${subscriber}@klaviyo-demo.com`;

export const toActionInsertId = (subscriber: number, step: number): string =>
  `subscriber-${subscriber}-${step}`;

/** Returns true for the address of a subscriber. */
export const isSubscriber = (email: unknown): boolean =>
  typeof email === 'string' && email.startsWith('subscriber-');

/** Returns true for the event of a subscriber. */
export const isSubscriberEvent = (uniqueId: string): boolean => uniqueId.startsWith('subscriber-');

const kinds: readonly ActionKind[] = [
  ...(['update', 'clear', 'append', 'add', 'add', 'remove', 'event'] as const),
  ...(['subscribe', 'subscribe', 'join', 'join'] as const),
  ...(['import', 'unsubscribe', 'unsubscribe-list', 'suppress', 'unsuppress'] as const),
];

function choose(seed: number, subscriber: number, step: number) {
  const random = createSeededRandom(seed + (subscriber + 1) * 1_000_033 + step * 7907);
  const kind = step < toLastStep(seed, subscriber) ? pick(random, kinds) : 'erase';
  return { kind, list: pick(random, lists) };
}

/**
 * True if a removal from the list has a known effect. Klaviyo has a list since somebody was added to it, and
 * responds with 404 to a removal from any other. It handles subscriptions and unsubscriptions at a later time,
 * which nobody can see, so a removal may come before one of those that the relay sent first.
 */
function canRemove(seed: number, subscriber: number, step: number, list: string): boolean {
  let wasAdded = false;
  for (let earlier = 0; earlier < step; earlier++) {
    const { kind, list: other } = choose(seed, subscriber, earlier);
    if (other !== list) continue;
    if (kind === 'join' || kind === 'unsubscribe-list') return false;
    wasAdded ||= kind === 'add';
  }
  return wasAdded;
}

export function makeAction(seed: number, subscriber: number, step: number): Action {
  const { kind: chosen, list } = choose(seed, subscriber, step);
  const isPossible = chosen !== 'remove' || canRemove(seed, subscriber, step, list);
  const kind = isPossible ? chosen : 'add';
  const person = { email: toEmail(subscriber) };
  switch (kind) {
    case 'update':
      return { kind, path: '/v1/profiles', body: { ...person, first_name: `Step ${step}` } };
    case 'clear':
      return { kind, path: '/v1/profiles', body: { ...person, first_name: null } };
    case 'append':
      return { kind, path: '/v1/profiles', body: { ...person, append: { steps: step } } };
    case 'add':
      return { kind, path: '/v1/profiles', body: { ...person, lists: [list] } };
    case 'remove':
      return { kind, path: '/v1/profiles', body: { ...person, remove_from_lists: [list] } };
    case 'event':
      return {
        kind,
        path: '/v1/events',
        body: {
          ...person,
          event_name: 'Viewed Product',
          insert_id: toActionInsertId(subscriber, step),
        },
      };
    case 'subscribe':
      return { kind, path: '/v1/subscriptions', body: { ...person, channels } };
    case 'join':
      return { kind, path: '/v1/subscriptions', body: { ...person, channels, list_id: list } };
    case 'import': {
      const consented_at = new Date(Date.UTC(2020, 0, 1) + step * 1000).toISOString();
      const body = { ...person, channels, historical: true, consented_at };
      return { kind, path: '/v1/subscriptions', body };
    }
    case 'unsubscribe':
      return { kind, path: '/v1/unsubscriptions', body: { ...person, channels, everywhere: true } };
    case 'unsubscribe-list':
      return { kind, path: '/v1/unsubscriptions', body: { ...person, channels, list_id: list } };
    case 'suppress':
      return { kind, path: '/v1/suppressions', body: person };
    case 'unsuppress':
      return { kind, path: '/v1/unsuppressions', body: person };
    case 'erase':
      return { kind, path: '/v1/erasures', body: person };
  }
}

/** A subscriber at Klaviyo, as far as the actions determine it. */
type SubscriberState = {
  readonly first_name: string | null;
  /** What was appended to the custom property `steps`. */
  readonly steps: readonly number[];
  readonly status: ConsentRecord['status'] | null;
  /** Epoch ms of an imported consent; null for any other. */
  readonly consentedAt: number | null;
  /** The reasons why the address gets no marketing. */
  readonly suppressions: readonly string[];
  readonly lists: readonly string[];
  readonly suppressedLists: readonly string[];
};

const unknownSubscriber: SubscriberState = {
  first_name: null,
  steps: [],
  status: null,
  consentedAt: null,
  suppressions: [],
  lists: [],
  suppressedLists: [],
};

export type ExpectedSubscriber = {
  readonly state: SubscriberState;
  /**
   * True if nobody can say whether an imported consent lifted the suppression by a user: an unsubscription that
   * comes before the consent is sent withdraws it.
   */
  readonly isSuppressionOpen: boolean;
  /**
   * True if an unsubscription from a list counts for everything if its request was repeated: the person is not
   * in the list any more when Klaviyo gets it again.
   */
  readonly isStatusOpen: boolean;
  /** The `unique_id` of each event. */
  readonly events: readonly string[];
  /** The consents that an unsubscription had withdrawn before, as `consented_at`. They are dead letters. */
  readonly withdrawn: readonly string[];
};

/** The state after `steps` actions, by Klaviyo's documentation and written independently of src. */
export function toExpectedSubscriber(
  seed: number,
  subscriber: number,
  steps: number,
): ExpectedSubscriber {
  let state = unknownSubscriber;
  let hasWithdrawn = false;
  let isSuppressionOpen = false;
  let isStatusOpen = false;
  let events: string[] = [];
  let withdrawn: string[] = [];
  for (let step = 0; step < steps; step++) {
    const { kind, body } = makeAction(seed, subscriber, step);
    if (kind === 'event') events.push(String(body.insert_id));
    else if (kind === 'import' && hasWithdrawn) withdrawn.push(String(body.consented_at));
    else {
      const wasSuppressed = state.suppressions.includes('USER_SUPPRESSED');
      if (decidesStatus.has(kind)) isStatusOpen = false;
      if (kind === 'unsubscribe-list') isStatusOpen ||= state.lists.includes(String(body.list_id));
      state = applyAction(state, { kind, path: '', body });
      if (kind === 'import') isSuppressionOpen ||= wasSuppressed;
      else if (decidesSuppression.has(kind)) isSuppressionOpen = false;
    }
    hasWithdrawn ||= kind === 'unsubscribe';
    if (kind === 'erase') [events, withdrawn, hasWithdrawn] = [[], [], false];
  }
  return { state, isSuppressionOpen, isStatusOpen, events, withdrawn };
}

const decidesStatus: ReadonlySet<ActionKind> = new Set([
  ...(['subscribe', 'join', 'import', 'unsubscribe', 'erase'] as const),
]);

const decidesSuppression: ReadonlySet<ActionKind> = new Set([
  ...(['subscribe', 'join', 'suppress', 'unsuppress', 'erase'] as const),
]);

/** Leaves out the suppression by a user. */
const withoutUserSuppression = (state: SubscriberState): SubscriberState => ({
  ...state,
  suppressions: without(state.suppressions, 'USER_SUPPRESSED'),
});

/** Leaves out whether the person is subscribed. */
const withoutStatus = (state: SubscriberState): SubscriberState => ({
  ...state,
  status: null,
  consentedAt: null,
  suppressions: without(state.suppressions, 'UNSUBSCRIBE'),
});

function applyAction(state: SubscriberState, { kind, body }: Action): SubscriberState {
  const subscribed = { ...state, status: 'SUBSCRIBED', suppressions: [] } as const;
  switch (kind) {
    case 'update':
      return { ...state, first_name: String(body.first_name) };
    case 'clear':
      return { ...state, first_name: null };
    case 'append':
      return { ...state, steps: [...state.steps, Number(toObject(body.append).steps)] };
    case 'add':
      return { ...state, lists: withMember(state.lists, String(toList(body.lists)[0])) };
    case 'remove': {
      const [list] = toList(body.remove_from_lists);
      return { ...state, lists: without(state.lists, String(list)) };
    }
    case 'subscribe':
      return { ...subscribed, consentedAt: null };
    case 'import':
      return { ...subscribed, consentedAt: Date.parse(String(body.consented_at)) };
    case 'join': {
      const list = String(body.list_id);
      return {
        ...subscribed,
        consentedAt: null,
        lists: withMember(state.lists, list),
        suppressedLists: without(state.suppressedLists, list),
      };
    }
    case 'unsubscribe-list': {
      const list = String(body.list_id);
      // Klaviyo unsubscribes a profile that is not in the list from everything.
      if (!state.lists.includes(list)) return toUnsubscribed(state);
      return {
        ...state,
        lists: without(state.lists, list),
        suppressedLists: withMember(state.suppressedLists, list),
      };
    }
    case 'unsubscribe':
      return toUnsubscribed(state);
    case 'suppress':
      return { ...state, suppressions: withMember(state.suppressions, 'USER_SUPPRESSED') };
    case 'unsuppress':
      return { ...state, suppressions: without(state.suppressions, 'USER_SUPPRESSED') };
    case 'erase':
      return unknownSubscriber;
    case 'event':
      return state;
  }
}

const toList = (value: unknown): readonly unknown[] =>
  Array.isArray(value) ? Array.from<unknown>(value) : [];

const toObject = (value: unknown): JsonObject => (isJsonObject(value) ? value : {});

function toUnsubscribed(state: SubscriberState): SubscriberState {
  const suppressions = withMember(state.suppressions, 'UNSUBSCRIBE');
  return { ...state, status: 'UNSUBSCRIBED', consentedAt: null, suppressions };
}

function withMember(names: readonly string[], name: string): readonly string[] {
  return [...new Set([...names, name])].sort();
}

function without(names: readonly string[], name: string): readonly string[] {
  return names.filter((each) => each !== name);
}

/** Returns the number of events of the subscribers that are erased. */
export function countLeaverEvents(seed: number, steps: ReadonlyMap<number, number>): number {
  let count = 0;
  for (const [subscriber, done] of steps) {
    if (subscriber < firstLeaver) continue;
    for (let step = 0; step < done; step++) {
      if (makeAction(seed, subscriber, step).kind === 'event') count++;
    }
  }
  return count;
}

/** The subscriber whose event it is; null for any other event. */
function toSubscriber(uniqueId: string): number | null {
  const [, digits] = /^subscriber-(\d+)-/.exec(uniqueId) ?? [];
  return digits === undefined ? null : Number(digits);
}

/** Returns a sentence for each subscriber whose state, events or dead letters at Klaviyo are wrong. */
export function findSubscriberProblems(
  seed: number,
  /** How many actions of each subscriber were posted. */
  steps: ReadonlyMap<number, number>,
  found: {
    readonly klaviyo: Pick<SandboxState, 'profiles' | 'events'>;
    /** The payloads of dead letters of subscriptions, as text. */
    readonly deadLetters: readonly string[];
    /** True if a request whose response was lost is sent again. */
    readonly mayRepeat: boolean;
  },
): readonly string[] {
  const profiles = new Map(found.klaviyo.profiles.map((each) => [each.attributes.email, each]));
  const recorded = found.klaviyo.events
    .map(({ uniqueId }) => uniqueId)
    .filter((id) => steps.has(toSubscriber(id) ?? NaN));
  const events = new Set(recorded);
  let eventCount = 0;
  let withdrawnCount = 0;
  const problems: string[] = [];
  for (const [subscriber, count] of steps) {
    const expected = toExpectedSubscriber(seed, subscriber, count);
    const email = toEmail(subscriber);
    const [is, must] = [toSubscriberState(profiles.get(email)), expected.state]
      .map(expected.isSuppressionOpen ? withoutUserSuppression : identity)
      .map(found.mayRepeat && expected.isStatusOpen ? withoutStatus : identity)
      .map((state) => JSON.stringify(state));
    if (is !== must) problems.push(`subscriber ${subscriber} is ${is ?? ''} and not ${must ?? ''}`);
    eventCount += expected.events.length;
    for (const id of expected.events) if (!events.has(id)) problems.push(`event ${id} is lost`);
    if (count > toLastStep(seed, subscriber)) {
      if (profiles.has(email)) problems.push(`subscriber ${subscriber} was erased and is there`);
      if (found.deadLetters.some((text) => text.includes(email)))
        problems.push(`subscriber ${subscriber} was erased and is a dead letter`);
    }
    withdrawnCount += expected.withdrawn.length;
    for (const at of expected.withdrawn) {
      const isThere = found.deadLetters.some((text) => text.includes(email) && text.includes(at));
      if (!isThere) problems.push(`the consent of ${email} at ${at} is no dead letter`);
    }
  }
  if (recorded.length !== eventCount)
    problems.push(`subscribers have ${recorded.length} events, not ${eventCount}`);
  const fresh = found.deadLetters.filter((text) => !text.includes('historical'));
  problems.push(...fresh.map((text) => `a new consent is a dead letter: ${text}`));
  // A consent that is posted again because its response was lost becomes a second dead letter.
  if (found.deadLetters.length < withdrawnCount)
    problems.push(`${found.deadLetters.length} consents are dead letters, not ${withdrawnCount}`);
  return problems;
}

const identity = (state: SubscriberState): SubscriberState => state;

function toSubscriberState(profile: ProfileView | undefined): SubscriberState {
  if (profile === undefined) return unknownSubscriber;
  const record = profile.consent['email.marketing'];
  const first = profile.attributes.first_name;
  const { steps } = toObject(profile.attributes.properties);
  const isImported = record !== undefined && record.consentedAt < Date.UTC(2021, 0, 1);
  return {
    first_name: typeof first === 'string' ? first : null,
    // Klaviyo appends a value again if the response was lost, as its API has no key for a repeat.
    steps: [...new Set(toList(steps).map(Number))],
    status: record?.status ?? null,
    consentedAt: isImported ? record.consentedAt : null,
    suppressions: profile.suppressions.map(({ reason }) => reason).sort(),
    lists: [...profile.lists].sort(),
    suppressedLists: profile.listSuppressions.map(({ listId }) => listId).sort(),
  };
}
