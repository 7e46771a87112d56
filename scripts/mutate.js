// `npm run mutate [-- PATH…]`: changes the sources in small ways (mutants), runs the tests, and lists the
// changes that no test notices. docs/contributing/mutation-testing.md explains it.
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { readEquivalents, readResults, readSteps } from './mutate/files.js';
import { mutateSource } from './mutate/mutants.js';

/** @typedef {import('./mutate/mutants.js').Mutant} Mutant */
/** @typedef {import('./mutate/plan.js').Result} Result */
/** @typedef {{ mutants: readonly Mutant[], hashes: Map<string, string>, results: Map<number, Result>, stuck: Set<number> }} Run */

const root = fileURLToPath(new URL('..', import.meta.url));
const folder = `${root}.mutate/`;
const resultsPath = `${folder}results.json`;
/** Several runs may use the folder at once. */
const planPath = `${folder}plan-${process.pid}.json`;
const progressPath = `${folder}progress-${process.pid}.jsonl`;
/**
 * If a run reports nothing for this long, its mutant never yields, or the machine is busy. The mutant is therefore
 * tried a second time, and counts as killed only if it is stuck again.
 */
const stuckMs = 120_000;

/** The paths to mutate if none is given. */
const scope = [
  'src/delivery',
  'src/store',
  ...['response', 'rate-headers', 'import-outcomes'].map((name) => `src/klaviyo/${name}.ts`),
];
/** The Redis store is mostly Lua, which is not mutated, and its tests need redis-server. */
const excluded = ['src/store/redis/', 'test/store/redis/', 'test/store/redis.test.ts'];

const { values: options, positionals: paths } = parseArgs({
  allowPositionals: true,
  options: {
    fresh: { type: 'boolean', default: false },
    verbose: { type: 'boolean', default: false },
    tests: { type: 'string', multiple: true, default: [] },
    'max-test-ms': { type: 'string', default: '5000' },
  },
});

const equivalents = readEquivalents(`${root}scripts/mutate/equivalent.json`);
const earlier = existsSync(resultsPath) && !options.fresh ? readResults(resultsPath) : {};

/**
 * @param {string} path a file or a folder
 * @returns {string[]} the TypeScript files there
 */
function listFiles(path) {
  if (!statSync(root + path).isDirectory()) return [path];
  return readdirSync(root + path, { recursive: true, encoding: 'utf8' })
    .map((each) => `${path.replace(/\/$/, '')}/${each}`)
    .filter((each) => each.endsWith('.ts') && !excluded.some((start) => each.startsWith(start)))
    .sort();
}

/** @param {Mutant} mutant */
const toMutantKey = ({ line, original, replacement }) => `${line}: ${original} → ${replacement}`;

/** @param {Result | undefined} result */
const isKilled = (result) => result === 'killed' || result === 'timeout';

/**
 * @param {readonly string[]} files all of one folder of src
 * @returns {Promise<Run>}
 */
async function mutateFiles(files) {
  /** @type {Record<string, string>} */
  const sources = {};
  /** @type {Mutant[]} */
  const mutants = [];
  /** @type {Map<string, string>} */
  const hashes = new Map();
  for (const file of files) {
    const text = readFileSync(root + file, 'utf8');
    const mutated = mutateSource(file, text, mutants.length);
    sources[root + file] = mutated.text;
    mutants.push(...mutated.mutants);
    hashes.set(file, createHash('sha256').update(text).digest('hex'));
  }
  /** @type {Run} */
  const run = {
    mutants,
    hashes,
    results: new Map(listKilledBefore(mutants, hashes)),
    stuck: new Set(),
  };
  const tests = (options.tests.length > 0 ? options.tests : [`test/${toFolder(files[0] ?? '')}`])
    .flatMap(listFiles)
    .filter((each) => each.endsWith('.test.ts'));
  // Each further run starts with the mutant that was stuck, or with the one after it.
  while (run.results.size < mutants.length) {
    const plan = { root, tests, sources, mutants, done: [...run.results.keys()] };
    const steps = await runTests({
      ...plan,
      progress: progressPath,
      maxTestMs: Number(options['max-test-ms']),
    });
    takeResults(steps, run);
  }
  return run;
}

/**
 * @param {readonly Mutant[]} mutants
 * @param {Map<string, string>} hashes
 * @returns {[number, Result][]} without mutants that survived, because there may be new tests
 */
function listKilledBefore(mutants, hashes) {
  return mutants
    .filter((mutant) => {
      const found = earlier[mutant.file];
      return found?.hash === hashes.get(mutant.file) && found?.killed.includes(toMutantKey(mutant));
    })
    .map(({ id }) => [id, 'killed']);
}

/** Set by SIGINT and SIGTERM. */
const state = { isInterrupted: false };

/**
 * @param {import('./mutate/plan.js').Plan} plan
 * @returns {Promise<import('./mutate/plan.js').Step[]>}
 */
async function runTests(plan) {
  writeFileSync(plan.progress, '');
  writeFileSync(planPath, JSON.stringify(plan));
  const output = options.verbose ? 'inherit' : 'ignore';
  const child = spawn(
    process.execPath,
    ['node_modules/vitest/vitest.mjs', 'run', '--config', 'scripts/mutate/vitest.config.js'],
    {
      cwd: root,
      env: { ...process.env, MUTATE_PLAN: planPath },
      stdio: ['ignore', output, output],
    },
  );
  const stop = () => {
    state.isInterrupted = true;
    child.kill('SIGKILL');
  };
  process.once('SIGINT', stop).once('SIGTERM', stop);
  const watch = setInterval(() => {
    const { mtimeMs, size } = statSync(plan.progress);
    if (size > 0 && Date.now() - mtimeMs > stuckMs) child.kill('SIGKILL');
  }, 5000);
  await new Promise((resolve) => child.once('exit', resolve));
  clearInterval(watch);
  process.off('SIGINT', stop).off('SIGTERM', stop);
  return readSteps(plan.progress);
}

/**
 * @param {readonly import('./mutate/plan.js').Step[]} steps
 * @param {Run} run receives the results
 */
function takeResults(steps, { mutants, hashes, results, stuck }) {
  for (const step of steps) if (step.step === 'ended') results.set(step.id, step.result);
  const last = steps.at(-1);
  if (last?.step === 'started' && !state.isInterrupted) {
    if (stuck.has(last.id)) results.set(last.id, 'timeout');
    stuck.add(last.id);
  }
  const all = existsSync(resultsPath) ? readResults(resultsPath) : {};
  for (const [file, hash] of hashes) {
    const killed = mutants
      .filter((each) => each.file === file && isKilled(results.get(each.id)))
      .map(toMutantKey);
    all[file] = { hash, killed };
  }
  writeFileSync(resultsPath, JSON.stringify(all, null, 1));
  const [before, after] = steps.filter((each) => each.step === 'baseline');
  if (before === undefined || before.failed.length > 0)
    throw new Error(`The tests fail without a mutant:\n${before?.failed.join('\n') ?? ''}`);
  if (state.isInterrupted) throw new Error('Interrupted. The next run continues from here.');
  for (const test of after?.failed ?? [])
    console.log(
      `warning: a mutant changed state that remains, so later results may be wrong: ${test}`,
    );
}

/** @param {string} file */
const toFolder = (file) => file.split('/')[1] ?? '';

/** @param {Mutant} mutant */
const isEquivalent = (mutant) =>
  equivalents.some(
    ({ file, original, replacement }) =>
      mutant.file.endsWith(file) &&
      mutant.original === original &&
      mutant.replacement === replacement,
  );

/** @param {string} text */
function toLine(text) {
  const line = text.replace(/\s+/g, ' ');
  return line.length > 90 ? `${line.slice(0, 89)}…` : line;
}

mkdirSync(folder, { recursive: true });
process.once('exit', () =>
  [planPath, progressPath].forEach((path) => rmSync(path, { force: true })),
);
/** @type {Map<string, string[]>} The tests of a folder of src run once for all its files. */
const groups = new Map();
for (const file of (paths.length > 0 ? paths : scope).flatMap(listFiles)) {
  groups.set(toFolder(file), [...(groups.get(toFolder(file)) ?? []), file]);
}
const sum = { killed: 0, all: 0 };
for (const files of groups.values()) {
  const { mutants, results } = await mutateFiles(files);
  for (const file of files) {
    const own = mutants.filter((each) => each.file === file && !isEquivalent(each));
    const survivors = own.filter(({ id }) => !isKilled(results.get(id)));
    sum.killed += own.length - survivors.length;
    sum.all += own.length;
    console.log(`${file}  ${own.length - survivors.length} of ${own.length}`);
    for (const { id, line, original, replacement } of survivors) {
      const change = `${toLine(original)} → ${toLine(replacement) || '(removed)'}`;
      console.log(`  ${results.get(id) ?? ''} ${file}:${line}  ${change}`);
    }
  }
}
const percent = (100 * sum.killed) / Math.max(1, sum.all);
console.log(`score: ${percent.toFixed(1)} % (${sum.killed} of ${sum.all} mutants)`);
