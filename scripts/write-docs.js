// Writes the files that are derived from the code and from the benchmarks' results. `npm run docs`
// builds the project and runs this script. test/docs.test.ts renders the same texts from src/ and
// fails if a file has drifted.
//
// | file                             | made from                            |
// | -------------------------------- | ------------------------------------ |
// | .env.example                     | settingsSchema                       |
// | docs/reference/configuration.md  | settingsSchema, `settingGroups`      |
// | docs/reference/metrics.md        | createMetrics                        |
// | docs/reference/cli.md            | the help text of each command        |
// | docs/operations/capacity.md      | bench/results/redis-capacity.json    |
// | docs/performance.md              | bench/results/*.json                 |
import { readFileSync, writeFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import { z } from 'zod';
import { readMeasured, toCostTable, toModelTable } from './capacity.js';
import { readRows, toPerformanceTable } from './performance.js';

/** @typedef {import('./write-docs.js').Setting} Setting */
/** @typedef {import('./write-docs.js').SettingGroup} SettingGroup */
/** @typedef {import('./write-docs.js').MetricRow} MetricRow */

/**
 * The sections of docs/reference/configuration.md. Each setting belongs to exactly one group: a group
 * lists names, or the prefix that all its settings share.
 * @type {readonly SettingGroup[]}
 */
export const settingGroups = [
  {
    title: 'Klaviyo',
    names: [
      'KLAVIYO_API_KEY',
      'KLAVIYO_BASE_URL',
      'KLAVIYO_REVISION',
      'KLAVIYO_TIMEOUT_MS',
      'BACKFILL_AFTER',
      'HTTPS_PROXY',
      'HTTP_PROXY',
      'NO_PROXY',
    ],
  },
  {
    title: 'HTTP server and callers',
    names: [
      'HOST',
      'PORT',
      'RELAY_API_KEYS',
      'RELAY_ADMIN_KEYS',
      'INGEST_RATE_LIMIT_PER_SECOND',
      'BODY_LIMIT_BYTES',
      'HEADERS_TIMEOUT_MS',
      'REQUEST_TIMEOUT_MS',
      'TRUST_PROXY',
      'DEFAULT_PHONE_COUNTRY',
      'WORKERS',
    ],
  },
  {
    title: 'Store',
    names: [
      'STORE',
      'MAX_BUFFER_COUNT',
      'MAX_BUFFER_BYTES',
      'DEDUPE_MAX_AGE_MS',
      'DEDUPE_MAX_COUNT',
    ],
  },
  {
    title: 'Journal',
    names: ['DATA_DIR', 'WORKING_SET_MAX_BYTES', 'DISK_RESERVE_BYTES', 'SYNC_TIMEOUT_MS'],
  },
  {
    title: 'Redis',
    names: [
      'REDIS_URL',
      'REDIS_SENTINEL_USERNAME',
      'REDIS_SENTINEL_PASSWORD',
      'REDIS_KEY_PREFIX',
      'REDIS_ACCEPT_KEY',
      'REDIS_TIMEOUT_MS',
      'REDIS_LEASE_MS',
      'REDIS_DURABLE',
      'REDIS_WAIT_REPLICAS',
      'REDIS_REQUIRE_DURABLE',
    ],
  },
  {
    title: 'Batches',
    names: [
      'EVENT_BATCH_MAX_COUNT',
      'PROFILE_BATCH_MAX_COUNT',
      'SUBSCRIBE_BATCH_MAX_COUNT',
      'UNSUBSCRIBE_BATCH_MAX_COUNT',
      'SUPPRESS_BATCH_MAX_COUNT',
      'UNSUPPRESS_BATCH_MAX_COUNT',
      'UPDATE_PROFILE_BATCH_MAX_COUNT',
      'ERASE_BATCH_MAX_COUNT',
      'ADD_TO_LIST_BATCH_MAX_COUNT',
      'REMOVE_FROM_LIST_BATCH_MAX_COUNT',
      'BATCH_MAX_BYTES',
      'EVENT_FLUSH_INTERVAL_MS',
      'PROFILE_FLUSH_INTERVAL_MS',
      'SUBSCRIBE_FLUSH_INTERVAL_MS',
      'UNSUBSCRIBE_FLUSH_INTERVAL_MS',
      'SUPPRESS_FLUSH_INTERVAL_MS',
      'UNSUPPRESS_FLUSH_INTERVAL_MS',
      'UPDATE_PROFILE_FLUSH_INTERVAL_MS',
      'ERASE_FLUSH_INTERVAL_MS',
      'ADD_TO_LIST_FLUSH_INTERVAL_MS',
      'REMOVE_FROM_LIST_FLUSH_INTERVAL_MS',
      'DELIVERY_CONCURRENCY',
      'PROFILE_UNCHANGED_TTL',
    ],
  },
  {
    title: 'Rate limits',
    names: [
      'RATE_LIMIT_PER_SECOND',
      'RATE_LIMIT_BURST',
      'EVENT_RATE_WINDOWS',
      'PROFILE_RATE_WINDOWS',
      'SUBSCRIBE_RATE_WINDOWS',
      'UNSUBSCRIBE_RATE_WINDOWS',
      'SUPPRESS_RATE_WINDOWS',
      'UNSUPPRESS_RATE_WINDOWS',
      'UPDATE_PROFILE_RATE_WINDOWS',
      'ERASE_RATE_WINDOWS',
      'ADD_TO_LIST_RATE_WINDOWS',
      'REMOVE_FROM_LIST_RATE_WINDOWS',
      'RATE_LIMIT_REDIS_URL',
      'RATE_LIMIT_STATIC_SHARE',
    ],
  },
  {
    title: 'Retries and dead letters',
    names: [
      'RETRY_BASE_MS',
      'RETRY_MAX_DELAY_MS',
      'RETRY_MAX_ATTEMPTS',
      'RETRY_MAX_AGE_MS',
      'DEAD_LETTER_MAX_COUNT',
      'DEAD_LETTER_OVERFLOW',
      'DELIVERY_LOG_MAX_COUNT',
      'DELIVERY_LOG_MAX_AGE_MS',
    ],
  },
  {
    title: 'All sources',
    names: [
      'MAPPING_FILE',
      'MEMO_MAX_COUNT',
      'FACT_MAX_AGE',
      'ERASURE_RECORD_MAX_AGE',
      'DELIVERY_FACT_MAX_AGE',
      'WAITING_MAX_AGE',
      'WAITING_MAX_COUNT',
    ],
  },
  { title: 'Segment and RudderStack', prefix: 'SEGMENT_' },
  { title: 'Shopify', prefix: 'SHOPIFY_' },
  { title: 'Stripe', prefix: 'STRIPE_' },
  { title: 'WooCommerce', prefix: 'WOOCOMMERCE_' },
  { title: 'Generic webhooks', prefix: 'GENERIC_' },
  { title: 'Process and log', names: ['SHUTDOWN_TIMEOUT_MS', 'LOG_LEVEL', 'LOG_FORMAT'] },
];

/** The modules of src/cli that export a command, in the order of the help text. */
export const commandNames = ['start', 'sandbox', 'check', 'map', 'import', 'store', 'demo'];

/**
 * @param {z.ZodObject} schema
 * @returns {Setting[]}
 */
export function toSettings(schema) {
  // `input` describes the text that an operator writes, before it becomes lists, windows or null.
  const { properties = {}, required = [] } = z.toJSONSchema(schema, { io: 'input' });
  return Object.entries(properties).map(([name, property]) => {
    if (typeof property === 'boolean') throw new Error(`${name} has no rule`);
    return {
      name,
      description: withChoices(property.description ?? '', property.enum),
      required: required.includes(name),
      fallback: toFallback(property.default ?? parseAbsent(schema, name)),
    };
  });
}

/**
 * JSON Schema does not show every default (z.stringbool's is lost), so this function parses an absent value.
 * @param {z.ZodObject} schema
 * @param {string} name
 */
function parseAbsent(schema, name) {
  /** @type {unknown} */
  const setting = schema.shape[name];
  return z.instanceof(z.ZodType).parse(setting).safeParse(undefined).data;
}

/** @param {unknown} value */
function toFallback(value) {
  const isText = ['string', 'number', 'boolean'].includes(typeof value);
  return isText && value !== '' ? String(value) : null;
}

/**
 * @param {string} description
 * @param {readonly unknown[] | undefined} choices
 */
function withChoices(description, choices) {
  if (choices === undefined || choices.length < 2) return description;
  return `${description} (${choices.map((choice) => `\`${String(choice)}\``).join(', ')})`;
}

/** @param {readonly string[]} cells */
const toRow = (cells) => `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;

/** @param {readonly Setting[]} settings */
export function toSettingsTable(settings) {
  const rows = settings.map(({ name, required, fallback, description }) =>
    toRow([
      `\`${name}\``,
      required ? 'required' : fallback === null ? '–' : `\`${fallback}\``,
      description,
    ]),
  );
  return [toRow(['variable', 'default', 'meaning']), '| --- | --- | --- |', ...rows].join('\n');
}

/**
 * A section with a table for each group. Throws if a group names a setting that does not exist, and
 * if a setting belongs to no group or to several.
 * @param {readonly Setting[]} settings
 * @param {readonly SettingGroup[]} groups
 */
export function toGroupedTables(settings, groups = settingGroups) {
  const counts = new Map(settings.map(({ name }) => [name, 0]));
  const sections = groups.map(({ title, names = [], prefix = null }) => {
    const members = settings.filter(
      ({ name }) => names.includes(name) || (prefix !== null && name.startsWith(prefix)),
    );
    if (members.length < names.length) throw new Error(`group ${title}: a setting does not exist`);
    for (const { name } of members) counts.set(name, (counts.get(name) ?? 0) + 1);
    return `## ${title}\n\n${toSettingsTable(members)}`;
  });
  const misplaced = [...counts].filter(([, count]) => count !== 1).map(([name]) => name);
  if (misplaced.length > 0) throw new Error(`not in exactly one group: ${misplaced.join(', ')}`);
  return sections.join('\n\n');
}

/** @param {readonly Setting[]} settings */
export function toEnvExample(settings) {
  const entries = settings.map(({ name, required, fallback, description }) => {
    const line = required ? `${name}=pk_replace_me` : `# ${name}=${fallback ?? ''}`;
    return `# ${description.replaceAll('`', '')}\n${line}\n`;
  });
  const head =
    '# Made from src/config/config.ts by `npm run docs`. Copy it to .env. A line that is commented out shows the default.\n' +
    '# `docker compose` reads .env, and so do `klaviyo-relay start` and `check` in the working directory.\n';
  return [head, ...entries].join('\n');
}

/**
 * @param {{ getMetricsAsArray(): readonly object[] }} registry
 * @returns {MetricRow[]}
 */
export function toMetricRows(registry) {
  // prom-client's types hide `labelNames`; every metric has it.
  const shape = z.object({
    name: z.string(),
    help: z.string(),
    type: z.string(),
    labelNames: z.array(z.string()),
  });
  return registry
    .getMetricsAsArray()
    .map((metric) => shape.parse(metric))
    .filter(({ name }) => name.startsWith('relay_'));
}

/** @param {readonly MetricRow[]} metrics */
export function toMetricsTable(metrics) {
  const rows = metrics.map(({ name, type, labelNames, help }) =>
    toRow([`\`${name}\``, type, labelNames.map((label) => `\`${label}\``).join(', ') || '–', help]),
  );
  return [
    toRow(['metric', 'type', 'labels', 'meaning']),
    '| --- | --- | --- | --- |',
    ...rows,
  ].join('\n');
}

/**
 * A section with the help text of each command.
 * @param {readonly { readonly name: string; readonly help: string }[]} commands
 */
export const toCliSections = (commands) =>
  commands
    .map(({ name, help }) => `## ${name}\n\n\`\`\`text\n${help.trimEnd()}\n\`\`\``)
    .join('\n\n');

/** @param {string} marker */
const toMarkers = (marker) => [`<!-- ${marker}:start -->`, `<!-- ${marker}:end -->`];

/**
 * Puts `body` between `<!-- marker:start -->` and `<!-- marker:end -->`. Throws unless each marker
 * occurs once, in this order.
 * @param {string} text
 * @param {string} marker
 * @param {string} body
 */
export function replaceBetween(text, marker, body) {
  const [start = '', end = ''] = toMarkers(marker);
  const [before, inside, ...more] = text.split(start);
  const [old, after, ...rest] = (inside ?? '').split(end);
  if (before === undefined || old === undefined || after === undefined) {
    throw new Error(`there is no ${start} … ${end}`);
  }
  if (more.length + rest.length > 0) throw new Error(`${start} or ${end} is there twice`);
  return `${before}${start}\n\n${body}\n\n${end}${after}`;
}

async function writeAll() {
  // These modules come from the build, because Node 20 cannot load TypeScript. They are loaded here
  // and not at the top, because the tests import this script without a build.
  const load = (/** @type {string} */ name) => import(new URL(name, import.meta.url).href);

  const { settingsSchema } = /** @type {typeof import('../src/config/config.js')} */ (
    await load('../dist/config/config.js')
  );
  const { createMetrics } = /** @type {typeof import('../src/metrics.js')} */ (
    await load('../dist/metrics.js')
  );
  const commands = [];
  for (const name of commandNames) {
    const commandModule = /** @type {Record<string, import('../src/cli/command.js').Command>} */ (
      await load(`../dist/cli/${name}.js`)
    );
    commands.push({ name, help: commandModule[`${name}Command`]?.help ?? '' });
  }

  const settings = toSettings(settingsSchema);
  const metrics = toMetricRows(createMetrics('0.0.0').registry);
  writeFileSync('.env.example', toEnvExample(settings));
  rewrite('docs/reference/configuration.md', 'settings', toGroupedTables(settings));
  rewrite('docs/reference/metrics.md', 'metrics', toMetricsTable(metrics));
  rewrite('docs/reference/cli.md', 'commands', toCliSections(commands));
  rewrite('docs/operations/capacity.md', 'costs', toCostTable(readMeasured()));
  rewrite('docs/operations/capacity.md', 'model', toModelTable(readMeasured()));
  rewrite('docs/performance.md', 'measured', toPerformanceTable(readRows()));
}

/**
 * @param {string} path
 * @param {string} marker
 * @param {string} body
 */
function rewrite(path, marker, body) {
  writeFileSync(path, replaceBetween(readFileSync(path, 'utf8'), marker, body));
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) await writeAll();
