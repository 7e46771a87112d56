// A runner for vitest. It runs all tests once and records which mutants each test reaches. Then it activates one
// mutant after another in the same process, and runs the tests that reach the mutant until one fails.
import { appendFileSync } from 'node:fs';
import { getFn, startTests } from '@vitest/runner';
import { TestRunner, vi } from 'vitest';
import { readPlan } from './files.js';

/** @typedef {import('vitest').RunnerTestFile} File */
/** @typedef {import('vitest').RunnerTask} Task */
/** @typedef {import('vitest').RunnerTestCase} Test */
/** @typedef {import('./plan.js').Step} Step */
/** @typedef {{ key: string, filepath: string, cpuMs: number, ticks: number, calls: number }} Covering */

const plan = readPlan();
const count = plan.mutants.length;

/**
 * The time limit of a test is counted in ticks of this length. A busy machine delays the ticks as it delays the test,
 * so a test reaches its limit because it waits for something that never happens, and not because it is slow.
 */
const tickMs = 50;
let ticks = 0;
setInterval(() => (ticks += 1), tickMs).unref();

const none = -1;
let active = none;
let calls = 0;
let maxCalls = Infinity;
let hits = new Uint32Array(count);

/**
 * @param {number} id
 * @returns {boolean} true if the mutant is active
 */
globalThis.mutant = (id) => {
  hits[id] = 1;
  calls += 1;
  if (calls > maxCalls) throw new Error('The mutant loops.');
  return id === active;
};

/** @param {Step} step */
const report = (step) => appendFileSync(plan.progress, `${JSON.stringify(step)}\n`);

/** @param {Task} task @returns {string} */
const toKey = (task) =>
  task.suite ? `${toKey(task.suite)} > ${task.name}` : `${task.file.filepath} > ${task.name}`;

/** @param {Task} task @returns {Test[]} */
const listTests = (task) => (task.type === 'suite' ? task.tasks.flatMap(listTests) : [task]);

/** @param {Task} task @returns {boolean} */
const hasFailed = (task) =>
  task.result?.state === 'fail' || (task.type === 'suite' && task.tasks.some(hasFailed));

/** @param {Task} task @returns {string} */
const describeFailure = (task) =>
  task.result?.errors?.[0]?.stack ??
  (task.type === 'suite' ? (task.tasks.map(describeFailure).find(Boolean) ?? '') : '');

const cpuMs = () => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
};

export default class MutationRunner extends TestRunner {
  /** @type {Covering[][]} The tests that reach a mutant. */
  #covering = Array.from({ length: count }, () => []);
  /** @type {Covering[]} */
  #tests = [];
  /** @type {Set<number>} Mutants that act while a module is loaded. */
  #static = new Set();
  /** @type {Set<string>} */
  #ran = new Set();
  /** @type {string[]} */
  #failed = [];
  #start = { cpu: 0, ticks: 0 };

  /**
   * Evaluates the test file again each time.
   *
   * @param {string} filepath
   */
  importFile(filepath) {
    return super.importFile(filepath, 'setup');
  }

  onBeforeCollect() {
    hits = new Uint32Array(count);
  }

  onCollected() {
    hits.forEach((hit, id) => hit > 0 && this.#static.add(id));
  }

  /** @param {Test} test */
  onBeforeRunTask(test) {
    hits = new Uint32Array(count);
    calls = 0;
    this.#start = { cpu: cpuMs(), ticks };
    return super.onBeforeRunTask(test);
  }

  /** @param {Test} test */
  onAfterRunTask(test) {
    super.onAfterRunTask(test);
    if (test.mode !== 'run') return;
    if (test.result?.state === 'fail') this.#failed.push(toKey(test));
    const covering = {
      key: toKey(test),
      filepath: test.file.filepath,
      cpuMs: cpuMs() - this.#start.cpu,
      ticks: ticks - this.#start.ticks,
      calls,
    };
    this.#tests.push(covering);
    hits.forEach((hit, id) => hit > 0 && this.#covering[id]?.push(covering));
  }

  /**
   * @param {File[]} files
   * @returns {Promise<void>} vitest waits for it, although its type does not say so
   */

  async onAfterRunFiles(files) {
    super.onAfterRunFiles(files);
    for (const file of files) {
      this.#ran.add(file.filepath);
      // A file that cannot be loaded has no tests that fail.
      if (file.result?.errors?.length)
        this.#failed.push(`${file.filepath}: ${describeFailure(file)}`);
    }
    if (this.#ran.size < plan.tests.length) return;
    report({ step: 'baseline', failed: this.#failed });
    if (this.#failed.length === 0) await this.#runMutants();
  }

  async #runMutants() {
    const done = new Set(plan.done);
    const open = plan.mutants.filter(({ id }) => !done.has(id));
    const inOrder = [
      ...open.filter(({ id }) => !this.#static.has(id)),
      ...open.filter(({ id }) => this.#static.has(id)),
    ];
    let last = '';
    for (const mutant of inOrder) {
      report({ step: 'started', id: mutant.id });
      const { result, by } = await this.#runMutant(mutant, last);
      report({ step: 'ended', id: mutant.id, result, ...(by !== undefined && { by }) });
      last = by ?? last;
    }
    // No mutant is active here, so a test that fails does so because of state that a mutant changed.
    active = none;
    maxCalls = Infinity;
    vi.resetModules();
    /** @type {string[]} */
    const broken = [];
    for (const filepath of this.#ran) {
      const quiet = this.#createQuiet(() => true, { limit: Infinity });
      const [file] = await startTests([{ filepath, testLocations: undefined }], quiet);
      if (file && hasFailed(file)) broken.push(`${filepath}: ${describeFailure(file)}`);
    }
    report({ step: 'baseline', failed: broken });
  }

  /**
   * @param {import('./mutants.js').Mutant} mutant
   * @param {string} last the test that killed the previous mutant, which mostly kills its neighbours too
   * @returns {Promise<{ result: import('./plan.js').Result, by?: string }>}
   */
  async #runMutant({ id, file }, last) {
    const isStatic = this.#static.has(id);
    const tests = this.#chooseTests(
      isStatic ? this.#coveringFile(file) : (this.#covering[id] ?? []),
      last,
    );
    if (tests.length === 0) return { result: 'uncovered' };
    const byFile = groupByFile(tests);
    if (isStatic) vi.resetModules();
    active = id;
    try {
      for (const [filepath, chosen] of byFile) {
        const keys = new Set(chosen.map(({ key }) => key));
        const limit = 40 + 5 * Math.max(...chosen.map((each) => each.ticks));
        maxCalls = 100_000 + 50 * Math.max(...chosen.map((each) => each.calls));
        const outcome = { limit, killedBy: '', timedOut: false };
        const quiet = this.#createQuiet((test) => keys.has(toKey(test)), outcome);
        calls = 0;
        const [result] = await startTests([{ filepath, testLocations: undefined }], quiet);
        if (outcome.timedOut) {
          await endLoops();
          return { result: 'timeout', by: outcome.killedBy };
        }
        if (outcome.killedBy !== '') return { result: 'killed', by: outcome.killedBy };
        if (result && hasFailed(result)) return { result: 'killed', by: filepath };
      }
      return { result: 'survived' };
    } finally {
      active = none;
      maxCalls = Infinity;
      if (isStatic) vi.resetModules();
    }
  }

  /**
   * Returns all tests of the test files that run code of a source. A test may compare constants of a source without
   * running its code.
   *
   * @param {string} file
   */
  #coveringFile(file) {
    const ids = plan.mutants.filter((each) => each.file === file).map(({ id }) => id);
    const found = new Set(
      ids.flatMap((id) => this.#covering[id] ?? []).map(({ filepath }) => filepath),
    );
    return this.#tests.filter(({ filepath }) => found.has(filepath));
  }

  /**
   * Returns the cheapest tests first, up to the time limit.
   *
   * @param {readonly Covering[]} covering
   * @param {string} last
   */
  #chooseTests(covering, last) {
    let cpu = 0;
    return [...covering]
      .sort((a, b) => Number(b.key === last) - Number(a.key === last) || a.cpuMs - b.cpuMs)
      .filter(({ cpuMs: each }) => (cpu += each) <= plan.maxTestMs);
  }

  /**
   * @param {(test: Test) => boolean} isChosen
   * @param {{ limit: number, killedBy?: string, timedOut?: boolean }} outcome
   * @returns {MutationRunner} a runner that inherits from this one and reports nothing to vitest
   */
  #createQuiet(isChosen, outcome) {
    const ignore = () => undefined;
    const onBeforeRunTask = super.onBeforeRunTask.bind(this);
    /** @type {MutationRunner} */

    const quiet = Object.create(this);
    return Object.assign(quiet, {
      onTaskUpdate: ignore,
      onCollectStart: ignore,
      onBeforeCollect: ignore,
      onAfterRunSuite: ignore,
      onAfterRunFiles: ignore,
      onAfterRunTask: (/** @type {Test} */ test) => {
        if (test.result?.state === 'fail') outcome.killedBy ||= toKey(test);
      },
      onCollected: (/** @type {File[]} */ files) => {
        for (const test of files.flatMap(listTests)) if (!isChosen(test)) test.mode = 'skip';
      },
      onBeforeRunTask: (/** @type {Test} */ test) => {
        if (outcome.killedBy) test.mode = 'skip';
        calls = 0;
        return onBeforeRunTask(test);
      },
      runTask: async (/** @type {Test} */ test) => {
        /** @type {NodeJS.Timeout | undefined} */
        let timer;
        const limit = new Promise((resolve, reject) => {
          if (outcome.limit === Infinity) return;
          const last = ticks + outcome.limit;
          timer = setInterval(() => {
            if (ticks < last) return;
            outcome.timedOut = true;
            reject(new Error('The test exceeded its time limit.'));
          }, tickMs);
        });
        await Promise.race([getFn(test)(), limit]).finally(() => clearInterval(timer));
      },
    });
  }
}

/** Makes the code fail that a test left running, so that it does not disturb later tests. */
async function endLoops() {
  maxCalls = 0;
  await new Promise((resolve) => setTimeout(resolve, 2 * tickMs));
  calls = 0;
  await new Promise((resolve) => setTimeout(resolve, 2 * tickMs));
  // The run that follows this one continues after the mutant.
  if (calls > 0) throw new Error('A test cannot be ended.');
}

/** @param {readonly Covering[]} tests */
function groupByFile(tests) {
  /** @type {Map<string, Covering[]>} */
  const groups = new Map();
  for (const each of tests) groups.set(each.filepath, [...(groups.get(each.filepath) ?? []), each]);
  return groups;
}
