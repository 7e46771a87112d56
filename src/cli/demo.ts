import { randomUUID } from 'node:crypto';
import { parseArgs } from 'node:util';
import { systemClock } from '../clock.js';
import { runDemo } from '../demo/demo.js';
import { isBalanced, toText } from '../demo/summary.js';
import { createLogger } from '../logger.js';
import type { Command } from './command.js';
import { version } from './version.js';

const help = `Usage: klaviyo-relay demo [options]

Starts a relay and a local stand-in for Klaviyo, posts a day of a small shop over HTTP (with bad
records, repeats, a burst of 429 and a 503 among it), and ends with a summary. No account needed.
Exit code 0: everything is delivered or accounted for; 1: it is not.

  --shoppers N   how many people visit the shop (1000)
  --keep         leave both running, to look around; Ctrl-C ends them
  --logs         show the relay's log lines too
`;

/** Runs the main job on a local stand-in for Klaviyo. */
export const command: Command = {
  help,
  async run({ args }) {
    const { values } = parseArgs({
      args,
      options: {
        shoppers: { type: 'string', default: '1000' },
        keep: { type: 'boolean', default: false },
        logs: { type: 'boolean', default: false },
      },
    });
    const demo = await runDemo({
      clock: systemClock,
      log: await createLogger(
        { LOG_LEVEL: values.logs ? 'info' : 'fatal', LOG_FORMAT: 'auto' },
        process.stdout.isTTY,
      ),
      version,
      random: Math.random,
      newId: randomUUID,
      shoppers: Number(values.shoppers),
      onStep: (text) => process.stdout.write(`  ${text}\n`),
      onProgress: showProgress,
    });
    process.stdout.write(toText(demo.summary));
    if (values.keep) await untilInterrupted(demo.sandbox.url, demo.relay.url);
    await demo.close();
    return isBalanced(demo.summary) ? 0 : 1;
  },
};

const barWidth = 30;
let shownPercent = -1;

/** A bar in a terminal, a line every tenth otherwise. */
function showProgress(done: number, total: number): void {
  const percent = Math.floor((done / total) * 100);
  if (percent === shownPercent) return;
  shownPercent = percent;
  if (!process.stdout.isTTY) {
    if (percent % 25 === 0) process.stdout.write(`  posted ${percent} %\n`);
    return;
  }
  const filled = Math.round((percent / 100) * barWidth);
  const bar = '█'.repeat(filled).padEnd(barWidth, '░');
  process.stdout.write(`\r  posting ${bar} ${percent} %${percent === 100 ? '\n' : ''}`);
}

function untilInterrupted(sandboxUrl: string, relayUrl: string): Promise<void> {
  process.stdout.write(
    `  look around: ${sandboxUrl}/ (what Klaviyo holds), ${relayUrl}/docs, ${relayUrl}/v1/dead-letters, ${relayUrl}/metrics\n  Ctrl-C ends both.\n`,
  );
  return new Promise((resolve) => {
    process.once('SIGINT', () => resolve());
    process.once('SIGTERM', () => resolve());
  });
}
