import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { systemClock } from '../clock.js';
import { faultScriptSchema, startSandbox } from '../klaviyo/sandbox/sandbox.js';
import type { Command } from './command.js';
import { openOutputs, runService } from './service.js';

const help = `Usage: klaviyo-relay sandbox [options]

Runs a strict local stand-in for Klaviyo's API, with a page that shows what it holds.

  --host HOST      address to listen on (127.0.0.1)
  --port PORT      port to listen on (4000; 0 picks a free one)
  --faults FILE    a JSON list of fault rules to begin with; POST /sandbox/faults adds more
  --no-windows     do not hold callers to Klaviyo's rate windows
`;

/** Runs the stand-in until it is told to stop. */
export const command: Command = {
  help,
  async run({ args }) {
    const { values } = parseArgs({
      args,
      options: {
        host: { type: 'string', default: '127.0.0.1' },
        port: { type: 'string', default: '4000' },
        faults: { type: 'string' },
        'no-windows': { type: 'boolean', default: false },
      },
    });
    const outputs = openOutputs(systemClock);
    return runService({
      ...outputs,
      clock: systemClock,
      stopLimitMs: 5000,
      async start() {
        const sandbox = await startSandbox({
          clock: systemClock,
          host: values.host,
          port: Number(values.port),
          ...(values.faults !== undefined && { faults: readFaults(values.faults) }),
          ...(values['no-windows'] && { windows: 'off' as const }),
        });
        outputs.stdout.write(
          `Klaviyo sandbox on ${sandbox.url} (open it in a browser; Ctrl-C ends it)\n`,
        );
        return { stop: () => sandbox.close() };
      },
    });
  },
};

function readFaults(path: string) {
  const parsed = faultScriptSchema.safeParse(JSON.parse(readFileSync(path, 'utf8')));
  if (parsed.success) return parsed.data;
  const problems = parsed.error.issues.map(
    ({ path: at, message }) => `  - /${at.join('/')}: ${message}`,
  );
  throw new Error(`${path} is not a fault script:\n${problems.join('\n')}`);
}
