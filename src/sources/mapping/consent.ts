import { z } from 'zod';
import { subscriptionSchema } from '../../ingest/schema.js';
import type { Decision, Skipped, SourceEntry } from '../../ingest/source-entry.js';
import type { JsonObject } from '../../json/json.js';
import type { Lane } from '../../model/lane.js';
import type { ReportedConsents } from '../source.js';

/**
 * The part `consent` of a source's section in the mapping file: which consents that the source reports are
 * passed on, and to which list. Everything is off by default. Without a rule, a signal of the source is
 * counted as skipped; it never becomes a consent, nor a property that looks like one.
 */
export type ConsentRules = {
  /** True: consents to marketing by this channel are passed on. */
  readonly email: boolean;
  readonly sms: boolean;
  /** Id of the list. Null: Klaviyo subscribes without a list. */
  readonly list: string | null;
  /** What the person unsubscribes from if the source names no list. */
  readonly unsubscribe: 'list' | 'everywhere';
  /** True: the consents are from the past, so Klaviyo asks for no confirmation. */
  readonly historical: boolean;
  readonly customSource: string | null;
  /** Further lists that the source may name. */
  readonly lists: readonly string[];
  /** Lists by the groups that the source names. */
  readonly groups: Readonly<Record<string, string>>;
  /** Categories of a consent manager: what comes from a person who refused one of them is not sent. */
  readonly categories: readonly string[];
};

const { list_id: list, custom_source: customSource } = subscriptionSchema.shape;
const isOn = z.boolean('must be true or false').nullish();
const names = z.array(z.string().min(1), 'must be a list of names').nullish();

const members = {
  email: isOn,
  sms: isOn,
  list,
  unsubscribe: z.enum(['list', 'everywhere'], 'must be list or everywhere').nullish(),
  historical: z.boolean('must be true or false').nullish(),
  custom_source: customSource,
  lists: z.array(list.unwrap().unwrap(), 'must be a list of ids of lists').nullish(),
  groups: z
    .record(z.string(), list.unwrap().unwrap(), 'must hold groups, each with a list')
    .nullish(),
  categories: names,
};
type Members = typeof members;
type Given = z.output<z.ZodObject<Members>>;

const namingMembers: readonly string[] = ['lists', 'groups', 'categories'];

/** The schema of `consent` for a source that reports these consents. */
export function createConsentSchema({ channels, namesLists = false }: ReportedConsents) {
  const isReported = (name: string): boolean =>
    name === 'email' || name === 'sms'
      ? channels.includes(name)
      : namesLists || !namingMembers.includes(name);
  const shape = Object.fromEntries(Object.entries(members).filter(([name]) => isReported(name)));
  return z
    .strictObject(shape as Members, `must hold ${Object.keys(shape).join(', ')}, or some of them`)
    .transform((given: Given, context): ConsentRules => {
      for (const [name, message] of findConsentContradictions(given)) {
        context.addIssue({ code: 'custom', path: name === '' ? [] : [name], message });
      }
      return {
        email: given.email ?? false,
        sms: given.sms ?? false,
        list: given.list ?? null,
        unsubscribe: given.unsubscribe ?? 'list',
        historical: given.historical ?? false,
        customSource: given.custom_source ?? null,
        lists: given.lists ?? [],
        groups: given.groups ?? {},
        categories: given.categories ?? [],
      };
    })
    .nullish()
    .transform((rules): ConsentRules | null => rules ?? null);
}

/** The name of the member at fault, and what is wrong. */
function findConsentContradictions({
  email,
  sms,
  list: id,
  unsubscribe,
}: Given): readonly (readonly [string, string])[] {
  const hasNoList = id === undefined || id === null;
  const isAnyOn = email === true || sms === true;
  if (!hasNoList && email == null && sms == null) {
    return [['', 'names a list and no channel: set email or sms to true']];
  }
  if (hasNoList && unsubscribe === 'list') return [['unsubscribe', 'needs list']];
  // Klaviyo unsubscribes from everything if no list is given, so the operator must say so.
  return isAnyOn && hasNoList && unsubscribe !== 'everywhere'
    ? [['unsubscribe', 'must be everywhere if no list is given']]
    : [];
}

type Ruled =
  | { readonly entry: SourceEntry; readonly skip?: never }
  | { readonly skip: Skipped; readonly entry?: never };

/** Completes a decision by the rules, or returns the skip that it becomes. Other entries stay as they are. */
export function applyConsentRules(
  sourceEntry: SourceEntry,
  rules: ConsentRules | null | undefined,
): Ruled {
  const { decision, kind, id, lane } = sourceEntry;
  const skip = (reason: string): Ruled => ({ skip: { reason, kind, id } });
  if (isRefused(sourceEntry, rules)) return skip('consent_refused');
  if (decision === undefined) return { entry: sourceEntry };
  if (!rules || !isPassedOn(lane, decision, rules)) return skip(`${decision.channel}_consent_off`);
  const named = findNamedList(decision, rules);
  if (decision.group !== undefined && named === undefined) return skip('group');
  const isSubscription = lane === 'subscribe';
  if (isSubscription && !isAllowed(decision, rules)) return skip('list_off');
  const details = isSubscription ? toSubscription(named, rules) : toScope(named, rules);
  const channels = { [decision.channel]: ['marketing'] };
  return { entry: { ...sourceEntry, entry: { ...sourceEntry.entry, channels, ...details } } };
}

/** A withdrawal is passed on for each channel if any is on, because it is safe. */
function isPassedOn(lane: Lane, { channel }: Decision, rules: ConsentRules): boolean {
  return lane === 'subscribe' ? rules[channel] : rules.email || rules.sms;
}

/** Returns true if the person refused a category to which Klaviyo belongs. */
export function isRefused(
  { refusedCategories = [] }: Pick<SourceEntry, 'refusedCategories'>,
  rules: ConsentRules | null | undefined,
): boolean {
  return refusedCategories.some((category) => rules?.categories.includes(category) === true);
}

function findNamedList({ listId, group }: Decision, { groups }: ConsentRules): string | undefined {
  if (group === undefined) return listId;
  return Object.hasOwn(groups, group) ? groups[group] : undefined;
}

/** Returns false if the source names a list that the mapping file does not have. */
function isAllowed({ listId, group }: Decision, { list: own, lists }: ConsentRules): boolean {
  return group !== undefined || listId === undefined || listId === own || lists.includes(listId);
}

function toSubscription(named: string | undefined, rules: ConsentRules): JsonObject {
  const id = named ?? rules.list;
  return {
    ...(id !== null && { list_id: id }),
    ...(rules.historical && { historical: true }),
    ...(rules.customSource !== null && { custom_source: rules.customSource }),
  };
}

function toScope(named: string | undefined, { list: own, unsubscribe }: ConsentRules): JsonObject {
  const id = named ?? (unsubscribe === 'list' ? own : null);
  return id === null ? { everywhere: true } : { list_id: id };
}

/** Describes the rules for `klaviyo-relay check`, one line for each. */
export function explainConsent(rules: ConsentRules | null): readonly string[] {
  if (rules === null) return [];
  const { list: id, lists, groups, categories, historical } = rules;
  const channels = (['email', 'sms'] as const).filter((channel) => rules[channel]);
  const where = id === null ? 'without a list' : `to the list ${id}`;
  const from = rules.unsubscribe === 'everywhere' ? 'everything' : `the list ${id ?? ''}`;
  return [
    ...(channels.length === 0
      ? ['consent: off']
      : [
          `consent to ${channels.join(' and ')}: subscribes ${where}${historical ? ', as consent from the past' : ''}; a withdrawal unsubscribes from ${from}`,
        ]),
    ...(lists.length === 0 ? [] : [`lists that calls may name: ${lists.join(', ')}`]),
    ...Object.entries(groups).map(([group, list]) => `group ${group}: is the list ${list}`),
    ...(categories.length === 0
      ? []
      : [`not sent if the person refused: ${categories.join(', ')}`]),
  ];
}
