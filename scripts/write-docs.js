// Writes what is derived from the code: .env.example and README.md's table of settings from
// settingsSchema, docs/metrics.md's table from createMetrics, docs/scaling.md's and
// docs/performance.md's from bench/results. `npm run docs` builds and runs it;
// test/docs.test.ts renders the same from src/ and fails where a file has drifted.
import { readFileSync, writeFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import { z } from 'zod';
import { readMeasured, toCostTable, toModelTable } from './capacity.js';
import { readRows, toPerformanceTable } from './performance.js';

/** @typedef {import('./write-docs.js').Setting} Setting */
/** @typedef {import('./write-docs.js').MetricRow} MetricRow */

/**
 * @param {z.ZodObject} schema
 * @returns {Setting[]}
 */
export function toSettings(schema) {
  // `input` is what an operator writes: text, before it becomes lists, windows or null.
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
 * JSON Schema does not show every default (z.stringbool's is lost), so absence itself is parsed.
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
  return [toRow(['variable', 'default', 'what it does']), '| --- | --- | --- |', ...rows].join(
    '\n',
  );
}

/** @param {readonly Setting[]} settings */
export function toEnvExample(settings) {
  const entries = settings.map(({ name, required, fallback, description }) => {
    const line = required ? `${name}=pk_replace_me` : `# ${name}=${fallback ?? ''}`;
    return `# ${description.replaceAll('`', '')}\n${line}\n`;
  });
  const head =
    '# Made from src/config/config.ts by `npm run docs`. Copy it to .env; what is commented out is the default.\n' +
    '# Read by docker compose, and by `klaviyo-relay start` and `check` in the working directory.\n';
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
    toRow(['metric', 'type', 'labels', 'what it tells']),
    '| --- | --- | --- | --- |',
    ...rows,
  ].join('\n');
}

/** @param {string} marker */
const toMarkers = (marker) => [`<!-- ${marker}:start -->`, `<!-- ${marker}:end -->`];

/**
 * Puts `body` between `<!-- marker:start -->` and `<!-- marker:end -->`. Throws where they are not
 * there, once each and in that order.
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
  // From the build, since Node 20 cannot load TypeScript; and only here, since the tests have none.
  const load = (/** @type {string} */ name) => import(new URL(name, import.meta.url).href);
  /* eslint-disable @typescript-eslint/no-unsafe-assignment -- it does not see JSDoc's casts */
  const { settingsSchema } = /** @type {typeof import('../src/config/config.js')} */ (
    await load('../dist/config/config.js')
  );
  const { createMetrics } = /** @type {typeof import('../src/metrics.js')} */ (
    await load('../dist/metrics.js')
  );
  /* eslint-enable @typescript-eslint/no-unsafe-assignment */
  const settings = toSettings(settingsSchema);
  writeFileSync('.env.example', toEnvExample(settings));
  rewrite('README.md', 'settings', toSettingsTable(settings));
  const metrics = toMetricRows(createMetrics('0.0.0').registry);
  rewrite('docs/metrics.md', 'metrics', toMetricsTable(metrics));
  rewrite('docs/scaling.md', 'costs', toCostTable(readMeasured()));
  rewrite('docs/scaling.md', 'model', toModelTable(readMeasured()));
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
