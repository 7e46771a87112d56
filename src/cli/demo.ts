import { randomUUID } from 'node:crypto';
import { systemClock } from '../clock.js';
import { startDemo, type RunningDemo } from '../demo/demo.js';
import { isBalanced, formatDemoSummary } from '../demo/summary.js';
import { createLogger } from '../log/logger.js';
import type { Output } from '../log/output.js';
import { redactMessage } from '../log/redact.js';
import { readArguments, parseCount } from './arguments.js';
import type { Command } from './command.js';
import { openOutputs, runService } from './service.js';
import { version } from './version.js';

const help = `Usage: klaviyo-relay demo [options]

Starts a relay and the sandbox, a local simulation of Klaviyo's API. Posts a day of a small shop over
HTTP, including invalid records, repeats, a burst of 429 and a 503, and ends with a summary. Needs no
account. Exit code 0: every accepted entry is delivered, merged or a dead letter; 1: some are missing.

  --shoppers N   number of people who visit the shop (1000)
  --keep         keep both running after the summary, until Ctrl-C
  --logs         also show the relay's log lines
`;

/** Runs a day of a small shop against a relay and the sandbox. */
export const demoCommand: Command = {
  help,
  async run({ args }) {
    const { values } = readArguments({
      args,
      options: {
        shoppers: { type: 'string', default: '1000' },
        keep: { type: 'boolean', default: false },
        logs: { type: 'boolean', default: false },
      },
    });
    const shoppers = parseCount('--shoppers', values.shoppers, { min: 1, max: 1_000_000 });
    const outputs = openOutputs(systemClock);
    const { stdout } = outputs;
    const log = await createLogger(
      { LOG_LEVEL: values.logs ? 'info' : 'fatal', LOG_FORMAT: 'auto' },
      { output: stdout, isTerminal: process.stdout.isTTY },
    );
    return runService({
      ...outputs,
      clock: systemClock,
      redact: redactMessage,
      stopLimitMs: 15_000,
      start: ({ signal, fail }) =>
        startDemo({
          clock: systemClock,
          log,
          version,
          random: Math.random,
          newId: randomUUID,
          droppedLogLines: () => stdout.dropped(),
          shoppers,
          onStep: (text) => stdout.write(`  ${text}\n`),
          onProgress: createProgressBar(stdout, process.stdout.isTTY),
          onFatal: fail,
          signal,
        }),
      async work(demo) {
        const summary = await demo.run();
        stdout.write(formatDemoSummary(summary));
        if (values.keep) await waitForSignal(stdout, demo);
        return isBalanced(summary) ? 0 : 1;
      },
    });
  },
};

const barWidth = 30;

/** Prints a bar in a terminal, and otherwise a line every 25 %. */
function createProgressBar(
  stdout: Output,
  isTerminal: boolean,
): (done: number, total: number) => void {
  let shownPercent = -1;
  return (done, total) => {
    const percent = Math.floor((done / total) * 100);
    if (percent === shownPercent) return;
    shownPercent = percent;
    if (!isTerminal) {
      if (percent % 25 === 0) stdout.write(`  posted ${percent} %\n`);
      return;
    }
    const filled = Math.round((percent / 100) * barWidth);
    const bar = '█'.repeat(filled).padEnd(barWidth, '░');
    stdout.write(`\r  posting ${bar} ${percent} %${percent === 100 ? '\n' : ''}`);
  };
}

/** Prints the addresses of the relay and the sandbox. Both run until a signal ends the process. */
function waitForSignal(stdout: Output, { sandbox, relay }: RunningDemo): Promise<never> {
  stdout.write(
    `  both keep running: ${sandbox.url}/ (what Klaviyo recorded), ${relay.url}/docs, ${relay.url}/v1/dead-letters, ${relay.url}/metrics\n  Ctrl-C stops both.\n`,
  );
  return new Promise(() => undefined);
}
