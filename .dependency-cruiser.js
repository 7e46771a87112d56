// The layers of src/ and the directions of their imports; `npm run lint` checks them with
// dependency-cruiser. test/architecture.test.ts breaks each rule once.

/** Layers that nearly every other one may import. */
const leaves = [
  ...['model', 'clock', 'error', 'identity-keys', 'json', 'log', 'metrics', 'near-name', 'slices'],
];

/**
 * A layer is a folder of src/ or a file beside main.ts. `code`: the layers that it may import.
 * `types`: the layers of which it may import types only. Every layer may import itself, and types
 * of `model`. A layer that is missing here fails the check.
 * @type {Readonly<Record<string, { code?: readonly string[], types?: readonly string[] }>>}
 */
const layers = {
  model: {},
  clock: {},
  error: {},
  'identity-keys': {},
  'near-name': {},
  slices: { types: ['clock'] },
  json: {},
  log: { code: ['clock'], types: ['config'] },
  metrics: { code: ['model'] },
  // The settings of the lanes are derived from the list of lanes.
  config: { code: ['redis', 'sources', 'klaviyo', 'model', 'error', 'near-name'] },
  http: {
    code: ['ingest', 'sources', 'identity-keys', 'json', 'slices', 'model', 'clock', 'metrics'],
    types: ['log'],
  },
  ingest: { code: ['model', 'clock', 'identity-keys', 'json', 'metrics', 'slices'] },
  // A source has no HTTP: http/routes/sources has the routes.
  sources: { code: ['ingest', 'config', ...leaves] },
  store: { code: ['redis', ...leaves], types: ['config'] },
  // The connection to Redis, which the store and the shared limiter have in common.
  redis: { code: leaves },
  delivery: { code: leaves },
  klaviyo: { code: leaves },
  // The sandbox judges the relay's requests, so it shares nothing with the code that makes them.
  sandbox: { code: ['model', 'clock', 'json'] },
  app: {
    code: [
      ...['config', 'delivery', 'http', 'ingest', 'klaviyo', 'redis', 'sources', 'store'],
      ...leaves,
    ],
  },
  // The import is an HTTP client of the relay: it uses the HTTP interface and nothing behind it.
  import: { code: ['ingest', 'sources', ...leaves] },
  demo: { code: ['app', 'config', 'ingest', 'sandbox', ...leaves] },
  cli: {
    code: [
      ...['app', 'config', 'demo', 'import', 'ingest', 'klaviyo', 'redis', 'sandbox', 'sources'],
      ...['store', ...leaves],
    ],
  },
  main: { code: ['cli'] },
};

/** Every folder of src/. A source has one folder without folders inside. */
const folders = [
  ...['app', 'cli', 'config', 'delivery', 'delivery/limiter', 'demo', 'http', 'http/plugins'],
  ...[
    'http/routes',
    'http/routes/sources',
    'import',
    'ingest',
    'json',
    'klaviyo',
    'klaviyo/lanes',
    'log',
    'model',
    'redis',
    'sandbox',
  ],
  ...['sources', 'sources/[a-z0-9-]+', 'store', 'store/journal', 'store/redis'],
];

/** Packages that one place owns, so that it is the one place to replace them. */
const owners = [
  { name: 'undici', packages: 'undici', path: '^src/klaviyo/connections\\.ts$' },
  { name: 'fastify', packages: '@fastify|fastify[^/]*', path: '^src/http/' },
  { name: 'lmdb', packages: 'lmdb', path: '^src/store/' },
  { name: 'redis', packages: 'ioredis|iovalkey|redis', path: '^src/redis/' },
];

/** @param {readonly string[]} names */
const toPath = (names) => `^src/(${names.join('|')})(/|\\.ts$)`;

const directions = Object.entries(layers).flatMap(([layer, { code = [], types = [] }]) => [
  {
    name: `imports-of-${layer}`,
    severity: 'error',
    comment: `src/${layer} may import code of: ${code.join(', ')}.`,
    from: { path: toPath([layer]) },
    to: {
      path: '^src/',
      pathNot: toPath([layer, ...code]),
      dependencyTypesNot: ['type-only', 'type-import'],
    },
  },
  {
    name: `types-of-${layer}`,
    severity: 'error',
    comment: `src/${layer} may import types of: ${[...new Set([...code, ...types, 'model'])].join(', ')}.`,
    from: { path: toPath([layer]) },
    to: {
      path: '^src/',
      pathNot: toPath([layer, ...code, ...types, 'model']),
      dependencyTypes: ['type-only', 'type-import'],
    },
  },
]);

const packageOwners = owners.map(({ name, packages, path }) => ({
  name: `owner-of-${name}`,
  severity: 'error',
  comment: `Only files that match ${path} import ${name}.`,
  from: { path: '^src/', pathNot: path },
  to: { path: `(^|node_modules/)(${packages})(/|$)`, pathNot: '^src/' },
}));

const layout = `^src/((${folders.join('|')})/[a-z0-9-]+|${Object.keys(layers).join('|')})\\.[a-z]+$`;

export default {
  forbidden: [
    ...directions,
    ...packageOwners,
    {
      name: 'model-imports-nothing',
      severity: 'error',
      comment: 'The shared types depend on nothing, not even on packages.',
      from: { path: '^src/model/' },
      to: { pathNot: '^src/' },
    },
    {
      name: 'no-cycle',
      severity: 'error',
      comment: 'No import cycles; type imports count.',
      from: { path: '^src/' },
      to: { circular: true },
    },
    {
      name: 'layout',
      severity: 'error',
      comment: 'Files are in the folders and layers named above, in kebab-case.',
      from: {},
      to: { path: '^src/', pathNot: layout },
    },
    {
      name: 'layout-of-importer',
      severity: 'error',
      comment: 'As `layout`, for files that nothing imports.',
      from: { path: '^src/', pathNot: layout },
      to: {},
    },
    {
      name: 'no-barrel',
      severity: 'error',
      comment: 'Import from the file that declares the name.',
      from: { path: '/index\\.ts$' },
      to: {},
    },
  ],
  options: {
    // Type imports count as well.
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    doNotFollow: { path: 'node_modules' },
    enhancedResolveOptions: { conditionNames: ['import', 'node', 'default', 'types'] },
  },
};
