import { hash } from 'node:crypto';
import { factKinds } from '../../model/fact.js';
import { limits } from '../../ingest/limits.js';
import { createToE164 } from '../../ingest/phone.js';
import type {
  KnownPerson,
  Person,
  Skipped,
  SourceEntry,
  SourcePost,
  SourceWarning,
} from '../../ingest/source-entry.js';
import { isJsonObject, stringifyJson, type JsonObject } from '../../json/json.js';
import { parseDecimal, decimalToNumber } from '../decimal.js';
import { asId, asText, compact } from '../json.js';
import { readCurrency, readMoney, readAmount } from '../money.js';
import { readTime } from '../time.js';
import {
  compileExpression,
  isFaults,
  type Compiled,
  type Expression,
  type FoundValue,
  type Scope,
} from './expression.js';
import type { Condition, EventRule, ProfileRule, Webhook } from './section.js';

export type GenericRequest = Omit<Scope, 'element'> & {
  /** The name of the webhook in the URL and in the mapping file. */
  readonly name: string;
};

/** Without a default country, because a rule names it. */
const toE164 = createToE164();

/** Applies all rules whose conditions hold for the request. Never throws. */
export function mapGenericWebhook(webhook: Webhook, request: GenericRequest): SourcePost {
  const { name } = request;
  const scope: Scope = { ...request, element: undefined };
  const kind = asId(evaluateExpression(webhook.kind, scope).value);
  const delivery = asId(evaluateExpression(webhook.delivery, scope).value);
  const made = [
    ...webhook.events.flatMap((rule, at) =>
      applyRule(rule, { request, make: (own) => createRuleEvent(rule, own, `${at}`) }),
    ),
    ...webhook.profiles.flatMap((rule) =>
      applyRule(rule, { request, make: (own) => createRuleProfile(rule, own) }),
    ),
  ];
  const entries = made.flatMap(({ entry }) => (entry === undefined ? [] : [entry]));
  const skipped = made.flatMap(({ reason }) => (reason === undefined ? [] : [{ reason }]));
  const unmapped: readonly Skipped[] = made.length === 0 ? [{ reason: 'unmapped' }] : [];
  return {
    source: 'generic',
    topic: kind === undefined ? name : `${name}: ${kind}`,
    // Two systems may use the same ids, so the name of the webhook is part of the id.
    ...(delivery !== undefined && { delivery: `${name}:${delivery}` }),
    entries: entries.map((entry, index) => ({ ...entry, index })),
    people: made.flatMap(({ people = [] }) => people),
    skipped: [...skipped, ...unmapped],
  };
}

/** The result of a rule for one request, or for one element of it. */
type RuleResult = {
  readonly entry?: Omit<SourceEntry, 'index'>;
  readonly people?: readonly KnownPerson[];
  /** The reason of a skip. */
  readonly reason?: string;
};

type RuleScope = Scope & {
  readonly name: string;
  /** The place of the element, from 0. */
  readonly at: number;
};

type Rule = EventRule | ProfileRule;
type Applied = {
  readonly request: GenericRequest;
  readonly make: (scope: RuleScope) => RuleResult;
};

function applyRule(rule: Rule, { request, make }: Applied): readonly RuleResult[] {
  const holds = (scope: Scope): boolean =>
    Object.entries(rule.when).every(([text, condition]) =>
      holdsFor(condition, compileOnce(text).findAll(scope)),
    );
  const whole = { ...request, element: undefined };
  if (rule.each === undefined) return holds(whole) ? [make({ ...whole, at: 0 })] : [];
  const found = compileOnce(rule.each).findAll(whole);
  // A path to the list itself stands for its elements.
  const elements = found.length === 1 && Array.isArray(found[0]) ? (found[0] as unknown[]) : found;
  const scopes = elements
    .slice(0, limits.membersPerWebhookField)
    .map((element, at): RuleScope => ({ ...request, element, at }));
  const made = scopes.filter(holds).map(make);
  return elements.length > scopes.length ? [...made, { reason: 'too_long' }] : made;
}

function holdsFor(condition: Condition, found: readonly unknown[]): boolean {
  if (isJsonObject(condition)) {
    if ('exists' in condition) return condition.exists === found.length > 0;
    return !holdsFor(condition.not, found);
  }
  const wanted = Array.isArray(condition) ? condition : [condition];
  return wanted.some((each) =>
    each === null ? found.length === 0 : found.some((value) => isSameScalar(value, each)),
  );
}

/** Returns true for equal scalars. A number equals its digits as text, because senders write ids either way. */
function isSameScalar(value: unknown, wanted: unknown): boolean {
  if (typeof value === 'boolean' || typeof wanted === 'boolean') {
    return String(value) === String(wanted);
  }
  const text = asId(value);
  return text !== undefined && text === asId(wanted);
}

function createRuleEvent(rule: EventRule, scope: RuleScope, ruleId: string): RuleResult {
  const name = asText(evaluateExpression(rule.event_name, scope).value);
  if (name === undefined) return { reason: 'no_event_name' };
  const who = readRulePerson(rule, scope);
  const anonymousId = asId(evaluateExpression(rule.anonymous_id, scope).value);
  const isSomebody = Object.keys(who.person).length > 0 || anonymousId !== undefined;
  if (!isSomebody && who.personKeys.length === 0) return { reason: 'anonymous' };
  const time = readRuleTime(evaluateExpression(rule.event_time, scope));
  const money = readRuleAmounts(rule, scope);
  const properties = readRuleProperties(rule.properties, scope);
  const isLong = name.length > limits.metricNameChars;
  const entry = compact({
    event_name: isLong ? name.slice(0, limits.metricNameChars) : name,
    ...time.fields,
    insert_id: createRuleInsertId(rule, scope, ruleId),
    ...who.person,
    anonymous_id: anonymousId,
    ...money.fields,
    order_id: asId(evaluateExpression(rule.order_id, scope).value),
    properties: {
      ...properties.value,
      ...time.kept,
      ...money.kept,
      ...(isLong && { event_name_full: name }),
    },
  });
  const warnings = [
    ...time.warnings,
    ...money.warnings,
    ...properties.warnings,
    ...(isLong
      ? [
          {
            code: 'shortened_event_name',
            pointer: '',
            detail: 'is too long for a metric; the whole name is the property event_name_full',
          },
        ]
      : []),
  ];
  return createRuleResult('events', { entry, warnings, who });
}

const profileFields = [
  'first_name',
  'last_name',
  'organization',
  'locale',
  'title',
  'image',
] as const;

function createRuleProfile(rule: ProfileRule, scope: RuleScope): RuleResult {
  const who = readRulePerson(rule, scope);
  const isSomebody = Object.keys(who.person).length > 0;
  if (!isSomebody && who.personKeys.length === 0) return { reason: 'anonymous' };
  const properties = readRuleProperties(rule.properties, scope);
  const fields = profileFields.map(
    (name) => [name, asId(evaluateExpression(rule[name], scope).value)] as const,
  );
  const location = evaluateExpression(rule.location, scope).value;
  const entry = compact({
    ...who.person,
    ...Object.fromEntries(fields),
    location: isJsonObject(location) ? stringifyLocation(location) : undefined,
    properties: properties.value,
  });
  return createRuleResult('profiles', { entry, warnings: properties.warnings, who });
}

/** Converts the members to text, because a postal code may be a number. */
function stringifyLocation(location: JsonObject): JsonObject {
  return compact(
    Object.fromEntries(Object.entries(location).map(([name, value]) => [name, asId(value)])),
  );
}

type Parts = {
  readonly entry: JsonObject;
  readonly warnings: readonly SourceWarning[];
  readonly who: RulePerson;
};

function createRuleResult(
  lane: 'events' | 'profiles',
  { entry, warnings, who }: Parts,
): RuleResult {
  const { personKeys, people } = who;
  return {
    entry: {
      lane,
      entry,
      ...(personKeys.length > 0 && { personKeys }),
      ...(warnings.length > 0 && { warnings }),
    },
    people,
  };
}

type RulePerson = {
  readonly person: Person;
  readonly personKeys: readonly string[];
  readonly people: readonly KnownPerson[];
};

function readRulePerson(rule: Rule, scope: RuleScope): RulePerson {
  const email = asText(evaluateExpression(rule.email, scope).value)?.trim();
  const raw = asId(evaluateExpression(rule.phone_number, scope).value);
  const country = asText(evaluateExpression(rule.phone_country, scope).value);
  const phone = raw === undefined ? undefined : (toE164(raw, country) ?? raw);
  const id = asId(evaluateExpression(rule.distinct_id, scope).value);
  const person: Person = {
    ...(email !== undefined && { email }),
    ...(phone !== undefined && { phone_number: phone }),
    ...(id !== undefined && { distinct_id: id }),
  };
  const personKeys = readPersonKeys(rule.person_from, scope).map(({ key }) => key);
  const isKnown = Object.keys(person).length > 0 || personKeys.length > 0;
  const people = isKnown
    ? readPersonKeys(rule.remember, scope).map(({ kind, key }): KnownPerson => {
        const others = personKeys.filter((each) => each !== key);
        return { kind, key, person, ...(others.length > 0 && { personKeys: others }) };
      })
    : [];
  return { person, personKeys, people };
}

function readPersonKeys(keys: Readonly<Record<string, Expression>> | undefined, scope: RuleScope) {
  return Object.entries(keys ?? {}).flatMap(([name, text]) => {
    const kind = factKinds.find((each) => each === name);
    const id = asId(evaluateExpression(text, scope).value);
    return kind === undefined || id === undefined
      ? []
      : [{ kind, key: `${scope.name}:${kind}:${id}` }];
  });
}

type Read = {
  readonly fields: JsonObject;
  /** Values that could not be read, as properties. */
  readonly kept: JsonObject;
  readonly warnings: readonly SourceWarning[];
};

function readRuleTime({ value, pointer }: FoundValue): Read {
  const time = readTime(value);
  if (time.kind === 'read') {
    return { fields: { event_time: new Date(time.at).toISOString() }, kept: {}, warnings: [] };
  }
  if (time.kind === 'absent') return { fields: {}, kept: {}, warnings: [] };
  const detail = `${time.detail}; the event has the time of its receipt`;
  return {
    fields: {},
    kept: { event_time_invalid: value },
    warnings: [{ code: 'unreadable_time', pointer, detail }],
  };
}

function readRuleAmounts(rule: EventRule, scope: RuleScope): Read {
  const currency = evaluateExpression(rule.currency, scope);
  const { code } = readCurrency(currency.value);
  const isMinor = rule.amounts === 'minor';
  const given = evaluateExpression(rule.value, scope);
  const value = { ...given, value: isMinor ? convertMinorAmount(given.value, code) : given.value };
  const money = readMoney(value, currency);
  const total = evaluateExpression(rule.total_amount, scope).value;
  const readTotal = readAmount(isMinor ? convertMinorAmount(total, code) : total, code);
  return {
    fields: {
      ...money.fields,
      ...(readTotal.kind === 'read' && { total_amount: readTotal.amount }),
    },
    kept: compact({
      ...(money.fields.value === undefined && { value_invalid: given.value }),
      ...(money.fields.currency === undefined && { currency_invalid: currency.value }),
      ...(readTotal.kind !== 'read' && { total_amount_invalid: total }),
    }),
    warnings: money.warnings,
  };
}

/** Decimal places of currencies (ISO 4217) that do not have two. */
const minorDigits: ReadonlyMap<string, number> = new Map([
  ...'BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF'
    .split(' ')
    .map((code): [string, number] => [code, 0]),
  ...'BHD IQD JOD KWD LYD OMR TND'.split(' ').map((code): [string, number] => [code, 3]),
  ...'CLF UYW'.split(' ').map((code): [string, number] => [code, 4]),
]);

/**
 * Converts an amount in the smallest unit. A value that is not a whole number, or has no known currency,
 * becomes a text that reads as an unreadable amount.
 */
function convertMinorAmount(value: unknown, currency: string | undefined): unknown {
  if (value === undefined) return undefined;
  const minor = parseDecimal(value);
  if (minor === undefined || minor.scale > 0 || currency === undefined) {
    return 'no amount in the smallest unit of a known currency';
  }
  return decimalToNumber({ units: minor.units, scale: minorDigits.get(currency) ?? 2 });
}

type Properties = {
  readonly value: JsonObject;
  readonly warnings: readonly SourceWarning[];
};

function readRuleProperties(expression: Expression, scope: RuleScope): Properties {
  const { value, pointer } = evaluateExpression(expression, scope);
  if (isJsonObject(value)) return { value, warnings: [] };
  if (value === undefined) return { value: {}, warnings: [] };
  const detail = 'is no JSON object; it stays as the property value_of_properties';
  return {
    value: { value_of_properties: value },
    warnings: [{ code: 'no_properties', pointer, detail }],
  };
}

/** The unique id of the rule. Without one it is made of the body, so that a repeated request gives the same id. */
function createRuleInsertId(
  rule: EventRule,
  { name, at, ...scope }: RuleScope,
  ruleId: string,
): string {
  const given = asId(evaluateExpression(rule.insert_id, { ...scope }).value);
  if (given !== undefined && given.length <= limits.uniqueIdChars) return given;
  const content = given ?? stringifyJson(scope.body);
  return ['generic', name, ruleId, at, hash('sha256', content, 'hex').slice(0, 32)].join(':');
}

const compiledTexts = new Map<string, Compiled>();
const compiledObjects = new WeakMap<object, Compiled>();

/** Compiles an expression once. It is valid, because the mapping file was checked when it was loaded. */
function compileOnce(expression: Expression): Compiled {
  const key = typeof expression === 'string' ? expression : null;
  const object = typeof expression === 'object' && expression !== null ? expression : null;
  const known = key !== null ? compiledTexts.get(key) : object && compiledObjects.get(object);
  if (known) return known;
  const compiled = compileExpression(expression, true);
  if (isFaults(compiled)) throw new Error('the mapping file was not checked');
  if (key !== null) compiledTexts.set(key, compiled);
  else if (object !== null) compiledObjects.set(object, compiled);
  return compiled;
}

function evaluateExpression(expression: Expression, scope: Scope): FoundValue {
  return compileOnce(expression).find(scope);
}
