/**
 * Checks one profile of a subscription or unsubscription job, by Klaviyo's OpenAPI. Klaviyo
 * validates a job before it accepts it: one bad phone number refuses all of its profiles. In 2025
 * Klaviyo announced that it ignores a bad number beside a valid address (`X-Klaviyo-Partial-Failure`,
 * community.klaviyo.com/developer-group-64 topic 18034); its OpenAPI does not say so, and the sandbox
 * stays strict.
 */

import { isJsonObject } from '../json/json.js';
import type { JsonObject } from '../json/json.js';
import { parseTimeMs } from './check-event.js';
import { checkEmailAndPhone, checkTextField, isNotNullish } from './check-profile.js';
import { checkMemberNames, checkResource } from './check-value.js';
import type { ConsentType } from './consent.js';
import type { ConsentRequest } from './consent-jobs.js';
import type { IssueCollector } from './issues.js';
import { readString } from './json.js';
import type { Revision } from './revisions.js';

/** The facts about a job that decide how its profiles are checked. */
export type ConsentRules = {
  readonly action: 'subscribe' | 'unsubscribe';
  readonly revision: Revision;
  /** `historical_import`: each consent needs the past time at which it was given. */
  readonly isHistorical: boolean;
  /** Epoch ms. */
  readonly now: number;
};

type Action = ConsentRules['action'];
type Changes = ConsentRequest['changes'];

/** A channel, as the member of `subscriptions` with its name describes it. */
type Channel = {
  /** Needed in a request that names the channel; null if any identifier will do. */
  readonly identifier: 'email' | 'phone_number' | null;
  /** The types of message that have a consent, by the names of the channel's members. */
  readonly types: Readonly<Record<string, ConsentType>>;
};

/** The channels that a job can name under this revision. */
function listChannels({ action, revision }: ConsentRules): Readonly<Record<string, Channel>> {
  return {
    email: {
      identifier: 'email',
      types: {
        marketing: 'email.marketing',
        ...(revision.takesOpenTrackingConsent && { open_tracking: 'email.open_tracking' }),
      },
    },
    sms: {
      identifier: 'phone_number',
      types: { marketing: 'sms.marketing', transactional: 'sms.transactional' },
    },
    ...(revision.takesWhatsAppConsent && {
      whatsapp: {
        identifier: 'phone_number',
        types: {
          marketing: 'whatsapp.marketing',
          transactional: 'whatsapp.transactional',
          ...(action === 'unsubscribe' && { conversational: 'whatsapp.conversational' }),
        },
      },
    }),
    ...(revision.takesPushConsent && {
      push: { identifier: null, types: { marketing: 'push.marketing' } },
    }),
  };
}

const resourceMembers: Readonly<Record<Action, ReadonlySet<string>>> = {
  subscribe: new Set(['type', 'id', 'attributes']),
  unsubscribe: new Set(['type', 'attributes']),
};
const attributeFields: Readonly<Record<Action, ReadonlySet<string>>> = {
  subscribe: new Set(['email', 'phone_number', 'subscriptions', 'age_gated_date_of_birth']),
  unsubscribe: new Set(['email', 'phone_number', 'subscriptions']),
};
const pushFields: Readonly<Record<Action, readonly string[]>> = {
  subscribe: ['tokens', 'anonymous_id'],
  unsubscribe: ['tokens'],
};

/** Returns undefined if the profile has no attributes. */
export function checkConsentRequest(
  value: unknown,
  rules: ConsentRules,
  issues: IssueCollector,
): (ConsentRequest & { readonly attributes: JsonObject }) | undefined {
  const { action } = rules;
  const members = resourceMembers[action];
  const found = checkResource(value, { type: 'profile', members }, issues);
  if (found === undefined) return undefined;
  const { resource, attributes } = found;
  checkTextField(resource, 'id', issues);
  let changes: Changes = [];
  issues.within(['attributes'], () => {
    checkMemberNames(attributes, { fields: attributeFields[action], resource: 'profile' }, issues);
    checkEmailAndPhone(attributes, issues);
    checkDateOfBirth(attributes.age_gated_date_of_birth, issues);
    changes = checkSubscriptions(attributes, rules, issues);
    const anonymousId = readAnonymousId(attributes);
    if (![attributes.email, attributes.phone_number, resource.id, anonymousId].some(isNotNullish)) {
      issues.add('At least one of email or phone_number is required.');
    }
  });
  const identifiers = {
    email: attributes.email,
    phone_number: attributes.phone_number,
    anonymous_id: readAnonymousId(attributes),
  };
  return {
    id: readString(resource.id) ?? null,
    identifiers: Object.fromEntries(
      Object.entries(identifiers).filter(([, identifier]) => isNotNullish(identifier)),
    ),
    changes,
    attributes,
  };
}

/** Push-only profiles have no other identifier than the one beside their tokens. */
function readAnonymousId({ subscriptions }: JsonObject): string | undefined {
  const push = isJsonObject(subscriptions) ? subscriptions.push : undefined;
  return isJsonObject(push) ? readString(push.anonymous_id) : undefined;
}

function checkDateOfBirth(date: unknown, issues: IssueCollector): void {
  if (!isNotNullish(date)) return;
  if (typeof date === 'string' && /^\d{4}-\d{2}-\d{2}$/.test(date)) return;
  issues.add('Invalid date format (Example: 1990-10-30).', 'age_gated_date_of_birth');
}

/**
 * Before revision 2025-01-15 `subscriptions` may be absent: the marketing consent of each identifier
 * is meant then.
 */
function checkSubscriptions(
  attributes: JsonObject,
  rules: ConsentRules,
  issues: IssueCollector,
): Changes {
  const { subscriptions } = attributes;
  if (subscriptions === undefined && !rules.revision.requiresSubscriptions) {
    if (rules.isHistorical) addTimeIssue('email', issues);
    const implied: readonly (readonly [unknown, ConsentType])[] = [
      [attributes.email, 'email.marketing'],
      [attributes.phone_number, 'sms.marketing'],
    ];
    return implied
      .filter(([identifier]) => isNotNullish(identifier))
      .map(([, type]) => ({ type, consentedAt: null }));
  }
  const changes: Changes[number][] = [];
  issues.within(['subscriptions'], () => {
    if (!isJsonObject(subscriptions)) {
      issues.add("'subscriptions' is a required field for the resource 'profile'.");
      return;
    }
    const channels = listChannels(rules);
    const fields = new Set(Object.keys(channels));
    checkMemberNames(subscriptions, { fields, resource: 'profile' }, issues);
    for (const [name, channel] of Object.entries(channels)) {
      if (subscriptions[name] === undefined) continue;
      issues.within([name], () => {
        changes.push(...checkChannel(subscriptions[name], { name, channel, rules }, issues));
      });
    }
    // Klaviyo's OpenAPI allows an empty object, which would change nothing.
    if (Object.keys(subscriptions).length === 0) issues.add('At least one channel is required.');
  });
  for (const [name, { identifier }] of Object.entries(listChannels(rules))) {
    if (!isJsonObject(subscriptions) || subscriptions[name] === undefined) continue;
    if (identifier === null || isNotNullish(attributes[identifier])) continue;
    issues.add(toMissingIdentifierText(identifier, name), identifier);
  }
  return changes;
}

/** The text was quoted from a live response (github.com/klaviyo/klaviyo-api-node/issues/95). */
function toMissingIdentifierText(identifier: string, channel: string): string {
  return `'${identifier}' must not be empty when the ${channel} channel is included in 'subscriptions'.`;
}

type ChannelContext = {
  readonly name: string;
  readonly channel: Channel;
  readonly rules: ConsentRules;
};

function checkChannel(value: unknown, context: ChannelContext, issues: IssueCollector): Changes {
  const { name, channel, rules } = context;
  if (!isJsonObject(value)) {
    issues.add(`'${name}' must be an object.`);
    return [];
  }
  const ofPush = name === 'push' ? pushFields[rules.action] : [];
  const fields = new Set([...Object.keys(channel.types), ...ofPush]);
  checkMemberNames(value, { fields, resource: 'profile' }, issues);
  if (name === 'push') checkPushTokens(value.tokens, rules.action, issues);
  const types = Object.entries(channel.types).filter(([member]) => value[member] !== undefined);
  if (types.length === 0) issues.add(`'marketing' is a required field for the channel '${name}'.`);
  return types.map(([member, type]) => {
    let consentedAt: number | null = null;
    issues.within([member], () => {
      consentedAt = checkConsent(value[member], { ...context, type }, issues);
    });
    return { type, consentedAt };
  });
}

const statuses: Readonly<Record<Action, string>> = {
  subscribe: 'SUBSCRIBED',
  unsubscribe: 'UNSUBSCRIBED',
};

/** Returns the time of a historical consent as epoch ms, otherwise null. */
function checkConsent(
  value: unknown,
  { name, rules, type }: ChannelContext & { readonly type: ConsentType },
  issues: IssueCollector,
): number | null {
  const status = statuses[rules.action];
  if (!isJsonObject(value)) {
    issues.add("'consent' is a required field.", 'consent');
    return null;
  }
  const isTimed = rules.action === 'subscribe' && type !== 'email.open_tracking';
  const fields = new Set(['consent', ...(isTimed ? ['consented_at'] : [])]);
  checkMemberNames(value, { fields, resource: 'profile' }, issues);
  if (value.consent !== status) issues.add(`'consent' must be '${status}'.`, 'consent');
  return isTimed ? checkConsentTime(value.consented_at, { name, rules }, issues) : null;
}

/**
 * A time belongs to a historical import, must have an offset and must be in the past. Klaviyo
 * reports a time in the future as one that is not valid
 * (community.klaviyo.com/developer-group-64/topic 17405).
 */
function checkConsentTime(
  time: unknown,
  { name, rules }: { readonly name: string; readonly rules: ConsentRules },
  issues: IssueCollector,
): number | null {
  if (!rules.isHistorical) {
    if (isNotNullish(time)) {
      issues.add("'consented_at' requires 'historical_import' to be true.", 'consented_at');
    }
    return null;
  }
  const at = typeof time === 'string' ? parseTimeMs(time) : undefined;
  if (at !== undefined && at < rules.now) return at;
  issues.within(['consented_at'], () => addTimeIssue(name, issues));
  return null;
}

function addTimeIssue(channel: string, issues: IssueCollector): void {
  issues.add(`Historical ${channel} subscription does not have a valid consented_at timestamp.`);
}

const tokenValues: Readonly<Record<string, readonly string[] | null>> = {
  token: null,
  platform: ['android', 'ios'],
  vendor: ['apns', 'fcm'],
};
const tokenFields = new Set([
  ...Object.keys(tokenValues),
  'enablement_status',
  'background',
  'device_metadata',
]);

function checkPushTokens(tokens: unknown, action: Action, issues: IssueCollector): void {
  if (!isNotNullish(tokens)) {
    if (action === 'unsubscribe') issues.add("'tokens' is a required field.", 'tokens');
    return;
  }
  issues.within(['tokens'], () => {
    if (!Array.isArray(tokens)) issues.add("'tokens' must be a list.");
    else {
      for (const [index, token] of tokens.entries()) {
        issues.within([index], () => checkPushToken(token, issues));
      }
    }
  });
}

function checkPushToken(token: unknown, issues: IssueCollector): void {
  if (!isJsonObject(token)) {
    issues.add('A push token must be an object.');
    return;
  }
  checkMemberNames(token, { fields: tokenFields, resource: 'profile' }, issues);
  for (const [field, values] of Object.entries(tokenValues)) {
    const value = token[field];
    const isValid = typeof value === 'string' && (values === null || values.includes(value));
    if (!isValid) issues.add(`'${field}' is not valid.`, field);
  }
}
