import { appendFileSync } from 'node:fs';
import { TestRunner, type RunnerTask, type RunnerTestSuite } from 'vitest';
import { missingToolsLog } from './missing-tools.js';

type Failure = { readonly message?: string; readonly cause?: Failure };

/** Returns the program that the machine lacks, if the error or one of its causes says so. */
function findMissingTool({ message = '', cause }: Failure): string | null {
  const [, packageName, command, traced] =
    /is missing: apt-get install ([\w-]+)|spawnSync (openssl) ENOENT|does not let (strace) trace/.exec(
      message,
    ) ?? [];
  const tool = packageName ?? command ?? traced;
  return tool ?? (cause === undefined ? null : findMissingTool(cause));
}

function countTests(task: RunnerTask): number {
  return task.type === 'suite' ? task.tasks.reduce((sum, each) => sum + countTests(each), 0) : 1;
}

/**
 * Skips a test, or a suite whose hook failed, when its first error is that a program is missing.
 * missing-tools.ts prints how many tests were skipped. With every program installed it changes nothing.
 */
// eslint-disable-next-line no-restricted-syntax -- Vitest loads the default export of a runner
export default class MissingToolsRunner extends TestRunner {
  override onAfterRunTask(test: RunnerTask): void {
    skipWithoutTool(test);
    super.onAfterRunTask(test);
  }

  override async onAfterRunSuite(suite: RunnerTestSuite): Promise<void> {
    skipWithoutTool(suite);
    await super.onAfterRunSuite(suite);
  }
}

function skipWithoutTool(task: RunnerTask): void {
  const { errors, ...result } = task.result ?? {};
  const first = errors?.[0];
  const tool = first === undefined ? null : findMissingTool(first);
  if (tool === null) return;
  task.result = { ...result, state: 'skip' };
  task.mode = 'skip';
  appendFileSync(missingToolsLog(), `${JSON.stringify({ tool, tests: countTests(task) })}\n`);
}
