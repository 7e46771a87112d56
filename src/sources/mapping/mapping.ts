import { z } from 'zod';
import { limits } from '../../ingest/limits.js';
import { profileSchema } from '../../ingest/schema.js';
import type { Skipped, SourceEntry, SourcePost } from '../../ingest/source-entry.js';
import { createCheck, type Checked } from '../../ingest/validation.js';
import { harmfulNames, isJsonObject, type JsonObject } from '../../json/json.js';
import type { ReportedConsents } from '../source.js';
import { applyConsentRules, createConsentSchema, isRefused } from './consent.js';
import { sourceNames, sources, type OwnSections, type SourceName } from '../list.js';
import {
  findMappingContradictions,
  findOwn,
  listLevels,
  shapeProperties,
  type PropertyRules,
  type SourceMapping,
} from './rules.js';

/** Sources whose section has the rules of rules.ts. */
export type SourceWithRules = Exclude<SourceName, keyof OwnSections>;

/**
 * The mapping file: changes of an operator to the results of the maps, and sections in the own form of a
 * source. A source that the file does not name stays as it is.
 */
export type Mapping = Readonly<Partial<Record<SourceWithRules, SourceMapping>>> & OwnSections;

/** The rules for one source. Undefined if there are none, or if the section has its own form. */
export function findRules(mapping: Mapping, source: string): SourceMapping | undefined {
  const isRuled = (name: string): name is SourceWithRules => ruledSources.has(name);
  return isRuled(source) ? mapping[source] : undefined;
}

const ruledSources: ReadonlySet<string> = new Set(
  sources.flatMap((source) => (source.mapping === undefined ? [source.name] : [])),
);

/** YAML 1.2 reads these as text, but their author means true or false. */
const looksLikeSwitch = /^(?:y|n|yes|no|on|off)$/i;

const metric = z.union(
  [
    z.boolean(),
    z
      .string()
      .max(limits.metricNameChars, `must have at most ${limits.metricNameChars} characters`)
      .regex(/\S/, 'must not be blank')
      .refine((text) => !looksLikeSwitch.test(text), 'is text to YAML: write true or false'),
  ],
  'must be the new name of the metric, or false',
);

const property = z
  .string('must be the name of a property')
  .min(1, 'must not be empty')
  .refine((name) => !harmfulNames.has(name), 'is a name that is not allowed');

/** A record by name. A heading without a value, whose lines may be commented out, counts as absent. */
const byName = <T extends z.ZodType>(value: T) =>
  z
    .record(z.string(), value, 'must hold names, each with a value')
    .nullish()
    .transform((map): Readonly<Record<string, z.output<T>>> => map ?? {});

const properties = z.array(property, 'must be a list of names of properties').nullish();

const noRules: PropertyRules = { include: null, exclude: [], rename: {} };

const propertyRules = z
  .strictObject(
    { include: properties, exclude: properties, rename: byName(property) },
    'must hold include, exclude or rename',
  )
  .nullish()
  .transform((rules): PropertyRules => {
    const { include, exclude, rename } = rules ?? noRules;
    return { include: include ?? null, exclude: exclude ?? [], rename };
  });

const commonRules = {
  topics: byName(z.boolean('must be true or false')),
  metrics: byName(metric),
  properties: propertyRules,
  events: byName(propertyRules),
};

const sourceMapping = (reported: ReportedConsents | undefined) =>
  (reported === undefined
    ? z
        .strictObject(commonRules, 'must hold topics, metrics, properties or events')
        .transform((rules): SourceMapping => ({ ...rules, consent: null }))
    : z.strictObject(
        { ...commonRules, consent: createConsentSchema(reported) },
        'must hold topics, metrics, properties, events or consent',
      )
  )
    // Unlike a refinement, a transform runs only if the section is valid otherwise.
    .transform((mapping, context): SourceMapping => {
      for (const { path, detail } of findMappingContradictions(mapping)) {
        context.addIssue({ code: 'custom', path: [...path], message: detail });
      }
      return mapping;
    })
    .nullish();

const mappingSchema: z.ZodType<Partial<Record<SourceName, unknown>>> = z.strictObject(
  Object.fromEntries(
    sources.map(({ name, mapping, ...source }) => [
      name,
      mapping?.schema.nullish() ?? sourceMapping('consent' in source ? source.consent : undefined),
    ]),
  ),
  `must hold ${sourceNames.join(', ')}, or some of them`,
);

const checkMapping = createCheck(mappingSchema, 'a mapping');

/** Validates the content of a mapping file. Null, which is an empty file, changes nothing. */
export function parseMapping(content: unknown): Checked<Mapping> {
  const checked = checkMapping(content ?? {});
  if (!checked.ok) return checked;
  const said = Object.entries(checked.value).filter(([, section]) => section != null);
  return { ok: true, value: Object.fromEntries(said) };
}

/**
 * Applies the rules of a mapping file to a post. A topic that is off still keeps its people, so that a
 * refund of an order finds its customer.
 */
export function applyMapping(posted: SourcePost, mapping: Mapping): SourcePost {
  const rules = findRules(mapping, posted.source);
  const post = applyConsent(posted, rules);
  if (rules === undefined) return post;
  const { topic, entries, skipped, ledger } = post;
  if (topic !== undefined && findOwn(rules.topics, topic) === false) {
    return {
      ...post,
      entries: [],
      skipped: [
        ...skipped,
        ...entries.map(skipAs('topic_off')),
        ...(ledger === undefined ? [] : [{ reason: 'topic_off' }]),
      ],
      ledger: undefined,
    };
  }
  const isOn = ({ entry }: SourceEntry): boolean => findMetricRule(entry, rules) !== false;
  const off = entries.filter((sourced) => !isOn(sourced));
  return {
    ...post,
    entries: entries.filter(isOn).map((sourced) => shapeEntry(sourced, rules)),
    skipped: [...skipped, ...off.map(skipAs('metric_off'))],
  };
}

/** Completes the decisions of a post, and leaves out what comes from people who refused. */
function applyConsent(post: SourcePost, rules: SourceMapping | undefined): SourcePost {
  const consent = rules?.consent;
  const isTouched = ({ decision, refusedCategories }: SourceEntry): boolean =>
    decision !== undefined || refusedCategories !== undefined;
  if (!post.entries.some(isTouched)) return post;
  const ruled = post.entries.map((entry) => applyConsentRules(entry, consent));
  return {
    ...post,
    entries: ruled.flatMap(({ entry }) => (entry === undefined ? [] : [entry])),
    skipped: [...post.skipped, ...ruled.flatMap(({ skip }) => (skip === undefined ? [] : [skip]))],
    people: post.people.filter((person) => !isRefused(person, consent)),
  };
}

const skipAs =
  (reason: string) =>
  ({ kind, id }: SourceEntry): Skipped => ({ reason, kind, id });

/** The rule for the metric of an event. Undefined if there is none, or if the entry is not an event. */
function findMetricRule({ event_name: name }: JsonObject, rules: SourceMapping) {
  return typeof name === 'string' ? findOwn(rules.metrics, name) : undefined;
}

function shapeEntry(sourced: SourceEntry, rules: SourceMapping): SourceEntry {
  if (sourced.decision !== undefined) return sourced;
  const shape = sourced.lane === 'events' ? shapeEvent : shapeProfile;
  return { ...sourced, entry: shape(sourced.entry, rules) };
}

function shapeEvent(entry: JsonObject, rules: SourceMapping): JsonObject {
  const { event_name: name, properties: given } = entry;
  const renamed = findMetricRule(entry, rules);
  const levels = listLevels(rules, typeof name === 'string' ? name : '');
  return {
    ...entry,
    ...(typeof renamed === 'string' && { event_name: renamed }),
    ...(isJsonObject(given) && {
      properties: shapeProperties(given, levels, listAddedNames(entry)),
    }),
  };
}

/** Properties that other fields become: see toRevenueProperties in map.ts. */
function listAddedNames(entry: JsonObject): readonly string[] {
  const added = {
    value: '$value',
    order_id: 'order_id',
    total_amount: 'total_amount',
    currency: 'currency',
  };
  return Object.entries(added).flatMap(([field, name]) => (entry[field] == null ? [] : [name]));
}

/** Changes custom properties alone, inside or outside `properties`. Fields of a profile stay as they are. */
function shapeProfile(entry: JsonObject, rules: SourceMapping): JsonObject {
  const isField = ([name]: readonly [string, unknown]): boolean =>
    Object.hasOwn(profileSchema.shape, name);
  const { properties: given, ...others } = entry;
  // Validation rejects the entry for this.
  if (given != null && !isJsonObject(given)) return entry;
  const fields = Object.entries(others);
  const custom: JsonObject = {
    ...given,
    ...Object.fromEntries(fields.filter((field) => !isField(field))),
  };
  const shaped = shapeProperties(custom, [rules.properties]);
  return {
    ...Object.fromEntries(fields.filter(isField)),
    ...(Object.keys(shaped).length > 0 && { properties: shaped }),
  };
}
