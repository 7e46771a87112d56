import ts from 'typescript';
import type { Import, Source } from './source-tree.js';

/** What breaks the rule, a line each, sorted: `path: what`. Empty where it holds. */
export type Rule = (sources: readonly Source[]) => readonly string[];

type Allowed = {
  /** Layers it may import. */
  readonly code?: readonly string[];
  /** Layers it may import types of, and no more. */
  readonly types?: readonly string[];
};

const leaves = ['model', 'clock', 'json', 'log', 'metrics', 'near-name', 'slices'];

/**
 * Who may import whom, by layer: a folder of the layout, or a file beside main. A layer may always
 * import itself, and types of `model`. One that is not named here is refused: name it.
 */
const directions: Readonly<Record<string, Allowed>> = {
  model: {},
  clock: {},
  'near-name': {},
  slices: { types: ['clock'] },
  json: {},
  log: { code: ['clock'], types: ['config'] },
  metrics: { code: ['model'] },
  config: { code: ['redis', 'sources', 'near-name'] },
  http: { code: ['ingest', 'json', 'slices', 'model', 'clock', 'metrics'], types: ['log'] },
  ingest: { code: ['model', 'clock', 'json', 'metrics', 'slices'] },
  // A source is an edge of its own: its routes stand on what http has for all routes.
  sources: { code: ['http', 'ingest', 'config', ...leaves] },
  store: { code: ['redis', ...leaves], types: ['config'] },
  // The edge to Redis, which the store and the shared limiter have in common.
  redis: { code: leaves },
  delivery: { code: leaves },
  klaviyo: { code: leaves },
  // Judges the relay's requests, so it shares nothing with what makes them.
  sandbox: { code: ['model', 'clock', 'json'] },
  app: {
    code: [
      'config',
      'delivery',
      'http',
      'ingest',
      'klaviyo',
      'redis',
      'sources',
      'store',
      ...leaves,
    ],
  },
  // A caller like any other: it knows the wire contract, and nothing behind it.
  import: { code: ['ingest', 'sources', ...leaves] },
  demo: { code: ['app', 'config', 'sandbox', ...leaves] },
  cli: {
    code: [
      'app',
      'config',
      'demo',
      'import',
      'ingest',
      'klaviyo',
      'redis',
      'sandbox',
      'sources',
      'store',
      ...leaves,
    ],
  },
  main: { code: ['cli'] },
};

const folders = [
  ...['app', 'cli', 'config', 'delivery', 'delivery/limiter', 'demo', 'http', 'http/plugins'],
  ...['http/routes', 'import', 'ingest', 'json', 'klaviyo', 'log', 'model', 'redis', 'sandbox'],
  ...['sources', 'store', 'store/journal', 'store/redis'],
];

/** A source has one folder, without folders inside; adding a source changes nothing here. */
const sourceFolder = /^sources\/[a-z0-9-]+$/;

/** Packages that one place owns, so that they can be replaced there. */
const owners: readonly { readonly name: RegExp; readonly path: RegExp }[] = [
  { name: /^undici(\/|$)/, path: /^src\/klaviyo\/connections\.ts$/ },
  { name: /^(@fastify\/|fastify)/, path: /^src\/(http|sources)\// },
  { name: /^lmdb(\/|$)/, path: /^src\/store\// },
  { name: /^(ioredis|iovalkey|redis)(\/|$)/, path: /^src\/redis\// },
];

const inSource = (sources: readonly Source[]) =>
  sources.filter(({ path }) => path.startsWith('src/'));
const inTests = (sources: readonly Source[]) =>
  sources.filter(({ path }) => path.startsWith('test/'));

export const importDirection: Rule = (sources) =>
  inSource(sources).flatMap(({ path, imports }) =>
    imports
      .filter((each) => !isAllowed(toLayer(path), each))
      .map(({ specifier, typeOnly }) => `${path}: ${typeOnly ? 'type ' : ''}${specifier}`),
  );

function toLayer(path: string): string {
  return path.replace(/^src\//, '').replace(/\.ts$|\/.*$/, '');
}

function isAllowed(layer: string, { target, typeOnly }: Import): boolean {
  // The shared types have no dependency at all, packages included.
  if (target === null) return layer !== 'model';
  const { code = [], types = [] } = directions[layer] ?? {};
  const wanted = toLayer(target);
  return (
    wanted === layer || code.includes(wanted) || (typeOnly && [...types, 'model'].includes(wanted))
  );
}

export const noCycle: Rule = (sources) => {
  const graph = new Map(
    inSource(sources).map(({ path, imports }) => [
      path,
      imports.flatMap(({ target }) => target ?? []),
    ]),
  );
  const done = new Set<string>();
  const cycles: string[] = [];
  const visit = (path: string, trail: readonly string[]): void => {
    if (trail.includes(path)) {
      cycles.push([...trail.slice(trail.indexOf(path)), path].join(' → '));
      return;
    }
    if (done.has(path)) return;
    for (const next of graph.get(path) ?? []) visit(next, [...trail, path]);
    done.add(path);
  };
  for (const path of graph.keys()) visit(path, []);
  return cycles;
};

export const packageOwners: Rule = (sources) =>
  inSource(sources).flatMap(({ path, imports }) =>
    imports
      .filter(({ specifier }) =>
        owners.some((owner) => owner.name.test(specifier) && !owner.path.test(path)),
      )
      .map(({ specifier }) => `${path}: ${specifier}`),
  );

export const environmentAtTheEdge: Rule = (sources) =>
  findNodes(
    inSource(sources).filter(({ path }) => !/^src\/(config\.ts$|main\.ts$|cli\/)/.test(path)),
    (node) => toMember(node) === 'process.env',
  );

const timers = ['setTimeout', 'setInterval'];
const clocks = ['Date.now', 'performance.now', 'process.hrtime', 'AbortSignal.timeout'];

export const timeFromTheClock: Rule = (sources) => {
  const checked = inSource(sources).filter(({ path }) => path !== 'src/clock.ts');
  return [
    ...findNodes(checked, (node) => readsTime(node) || isTimer(node)),
    ...findImportsOf(checked, /^(node:)?timers/),
  ];
};

function readsTime(node: ts.Node): boolean {
  const isNow =
    ((ts.isNewExpression(node) && (node.arguments ?? []).length === 0) ||
      ts.isCallExpression(node)) &&
    node.expression.getText() === 'Date';
  return isNow || clocks.includes(toMember(node) ?? '');
}

/** The global function, by itself or of globalThis; not a method such as `socket.setTimeout`. */
function isTimer(node: ts.Node): boolean {
  if (timers.some((name) => toMember(node) === `globalThis.${name}`)) return true;
  if (!ts.isIdentifier(node) || !timers.includes(node.text)) return false;
  const { parent } = node;
  const isName =
    ts.isPropertyAccessExpression(parent) ||
    ts.isPropertyAssignment(parent) ||
    ts.isMethodDeclaration(parent) ||
    ts.isMethodSignature(parent) ||
    ts.isPropertySignature(parent);
  return !(isName && parent.name === node);
}

export const randomnessAsArgument: Rule = (sources) =>
  findNodes(
    inSource(sources).filter(({ path }) => !/^src\/(app\.ts$|main\.ts$|cli\/)/.test(path)),
    (node) => toMember(node) === 'Math.random',
  );

/** A wait of the wall clock: slow where it is long, and flaky where it is short. */
export const noSleepInTests: Rule = (sources) => [
  ...findNodes(inTests(sources), (node) => isTimer(node) || isSleep(node)),
  ...findImportsOf(inTests(sources), /^(node:)?timers/),
];

function isSleep(node: ts.Node): boolean {
  if (!ts.isCallExpression(node)) return false;
  const name = node.expression.getText();
  return /^(sleep|delay)$/.test(name) || (name === 'wait' && isSystemClock(node.arguments[0]));
}

function isSystemClock(node: ts.Node | undefined): boolean {
  return node?.getText() === 'systemClock';
}

export const namedExports: Rule = (sources) =>
  findNodes(
    inSource(sources),
    (node) =>
      ts.isExportAssignment(node) ||
      node.kind === ts.SyntaxKind.DefaultKeyword ||
      (ts.isExportSpecifier(node) && node.name.text === 'default'),
  );

export const typesTellTheTruth: Rule = (sources) => [
  ...findNodes(
    inSource(sources),
    (node) => node.kind === ts.SyntaxKind.AnyKeyword || isCastThroughUnknown(node),
  ),
  ...findText(inSource(sources), /@ts-(ignore|nocheck|expect-error)/),
];

function isCastThroughUnknown(node: ts.Node): boolean {
  if (!ts.isAsExpression(node)) return false;
  let inner: ts.Expression = node.expression;
  while (ts.isParenthesizedExpression(inner)) inner = inner.expression;
  return ts.isAsExpression(inner) && inner.type.kind === ts.SyntaxKind.UnknownKeyword;
}

export const nothingLeftToDo: Rule = (sources) =>
  findText(inSource(sources), /\b(TODO|FIXME|XXX)\b/);

export const layout: Rule = (sources) =>
  inSource(sources).flatMap(({ path }) => {
    const inside = path.replace(/^src\//, '');
    const folder = inside.includes('/') ? inside.replace(/\/[^/]*$/, '') : null;
    return [
      ...(folder === null || folders.includes(folder) || sourceFolder.test(folder)
        ? []
        : [`${path}: no folder of the layout`]),
      ...(directions[toLayer(path)] === undefined ? [`${path}: no layer of the layout`] : []),
      ...(/(^|\/)index\.ts$/.test(inside) ? [`${path}: a barrel`] : []),
      ...(/(^|\/)[a-z0-9]+(-[a-z0-9]+)*\.ts$/.test(inside) ? [] : [`${path}: not kebab-case`]),
    ];
  });

/** `process.env` for both `process.env` and `process['env']`. */
function toMember(node: ts.Node): string | null {
  if (ts.isPropertyAccessExpression(node)) return `${node.expression.getText()}.${node.name.text}`;
  if (!ts.isElementAccessExpression(node)) return null;
  const { expression, argumentExpression: key } = node;
  return ts.isStringLiteralLike(key) ? `${expression.getText()}.${key.text}` : null;
}

function findNodes(sources: readonly Source[], isWrong: (node: ts.Node) => boolean): string[] {
  return sources.flatMap((source) =>
    source.nodes.filter(isWrong).map((node) => toPlace(source, node.getStart(), node.getText())),
  );
}

function findText(sources: readonly Source[], wrong: RegExp): string[] {
  return sources.flatMap((source) =>
    [...source.text.matchAll(new RegExp(wrong, 'g'))].map((match) =>
      toPlace(source, match.index, match[0]),
    ),
  );
}

function findImportsOf(sources: readonly Source[], wrong: RegExp): string[] {
  return sources.flatMap(({ path, imports }) =>
    imports
      .filter(({ specifier }) => wrong.test(specifier))
      .map(({ specifier }) => `${path}: ${specifier}`),
  );
}

function toPlace({ path, syntax }: Source, position: number, what: string): string {
  const line = syntax.getLineAndCharacterOfPosition(position).line + 1;
  return `${path}:${line}: ${what.split('\n')[0] ?? ''}`;
}
