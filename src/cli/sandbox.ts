import { readFileSync } from 'node:fs';
import { systemClock } from '../clock.js';
import { faultScriptSchema, startSandbox } from '../sandbox/sandbox.js';
import { redactMessage } from '../log/redact.js';
import { readArguments, parseCount } from './arguments.js';
import type { Command } from './command.js';
import { openOutputs, runService } from './service.js';

const help = `Usage: klaviyo-relay sandbox [options]

Runs a strict local simulation of Klaviyo's API, with a page that shows what it has recorded.

  --host HOST      address to listen on (127.0.0.1)
  --allow-host NAME  accept this name in the Host header, besides localhost, addresses and HOST; may be
                   repeated
  --port PORT      port to listen on (4000; 0 selects a free one)
  --faults FILE    a JSON list of fault rules to start with; POST /sandbox/faults adds more
  --retire-by-age  retire every revision two years after its release, as Klaviyo does
  --double-opt-in LIST  subscribers of the list with this id must confirm, which never happens here;
                   may be repeated
  --no-windows     do not enforce Klaviyo's rate windows
`;

/** Runs the sandbox until a signal stops it. */
export const sandboxCommand: Command = {
  help,
  async run({ args }) {
    const { values } = readArguments({
      args,
      options: {
        host: { type: 'string', default: '127.0.0.1' },
        'allow-host': { type: 'string', multiple: true, default: [] },
        port: { type: 'string', default: '4000' },
        faults: { type: 'string' },
        'retire-by-age': { type: 'boolean', default: false },
        'double-opt-in': { type: 'string', multiple: true, default: [] },
        'no-windows': { type: 'boolean', default: false },
      },
    });
    const port = parseCount('--port', values.port, { min: 0, max: 65_535 });
    const outputs = openOutputs(systemClock);
    return runService({
      ...outputs,
      clock: systemClock,
      redact: redactMessage,
      stopLimitMs: 5000,
      async start() {
        const sandbox = await startSandbox({
          clock: systemClock,
          host: values.host,
          allowedHosts: values['allow-host'],
          port,
          ...(values.faults !== undefined && { faults: readFaults(values.faults) }),
          retireByAge: values['retire-by-age'],
          doubleOptInLists: values['double-opt-in'],
          ...(values['no-windows'] && { windows: 'off' as const }),
        });
        outputs.stdout.write(
          `Klaviyo sandbox on ${sandbox.url} (open it in a browser; Ctrl-C stops it)\n`,
        );
        return { stop: () => sandbox.close() };
      },
    });
  },
};

function readFaults(path: string) {
  const parsed = faultScriptSchema.safeParse(parseFaults(path));
  if (parsed.success) return parsed.data;
  const problems = parsed.error.issues.map(
    ({ path: at, message }) => `  - /${at.join('/')}: ${message}`,
  );
  throw new Error(`${path} is not a fault script:\n${problems.join('\n')}`);
}

/** Replaces the messages of JSON.parse, which quote the file and could show anything. */
function parseFaults(path: string): unknown {
  const text = readFileSync(path, 'utf8');
  try {
    return JSON.parse(text);
  } catch {
    throw new Error(`${path} is not JSON`);
  }
}
