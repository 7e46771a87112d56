import { readFileSync, statSync } from 'node:fs';
import { systemClock } from '../clock.js';
import type { Environment } from '../config.js';
import { lanes } from '../envelope.js';
import { runImport, type ImportOptions } from '../import/importer.js';
import { backfills } from '../import/post.js';
import { createProgressFile } from '../import/progress.js';
import { createReport, toSummary } from '../import/report.js';
import { formats } from '../import/rows.js';
import { readArguments, UsageError } from './arguments.js';
import type { Command } from './command.js';

const help = `Usage: klaviyo-relay import FILE [options]

Posts a history of events or profiles, NDJSON or CSV, to a running relay, in batches and in order.
FILE is - for stdin. What the relay refuses goes into a file with the reasons; all else goes on.

  --type TYPE       events or profiles; needed unless the CSV's header, or the first line of NDJSON,
                    has event_name: then they are events
  --format FORMAT   ndjson or csv; else by FILE's name: .ndjson, .jsonl, .csv
  --delimiter CHAR  between the cells of CSV (,)
  --url URL         where the relay is (RELAY_URL, else http://127.0.0.1:3000)
  --key-file FILE   holds the relay's key; else RELAY_API_KEY, if it needs one
  --batch N         entries a request, at most (500); their bytes are bounded, too
  --backfill WHICH  events that trigger no flow at Klaviyo: all (default), age (those older than the
                    relay's BACKFILL_AFTER) or none
  --rejected FILE   where refused entries go (FILE.rejected.ndjson; import.rejected.ndjson of a pipe)
  --restart         begin anew, and write the file of refused entries anew

A 429 or 503 is waited out as long as the relay says. A relay that cannot be reached, or fails, is
asked again for some three minutes; then the import stops. Ctrl-C stops it once the batch under way
is answered. FILE.import.json keeps how far it is, and the same command goes on from there; an input
that has changed since is not gone on with. Of stdin, or another pipe, nothing is kept.

An event without insert_id gets one made of its line and the line's number, so that whatever is
posted twice, after a crash or with --restart, is a duplicate to the relay and to Klaviyo.

CSV begins with a header of the names of fields (openapi.yaml). Of events any other column, with or
without "properties." before it, is a property; of profiles it is a custom property, and "location."
leads into the location. An empty cell is an absent field. value, total_amount and custom properties
that look like a number are numbers, all else is text; a column called properties holds JSON.

A refused entry is a line {"line","errors":[{"pointer","detail"}],"entry"}:
\`jq -c .entry FILE.rejected.ndjson\` makes an input of them, to mend and to import.

Exit code 0: all taken, now or before; 1: stopped; 2: not understood; 3: some were refused.
`;

/** Streams a file into a running relay. */
export const command: Command = {
  help,
  async run({ args, env }) {
    const options = toOptions(args, env);
    const { stderr } = process;
    const report = createReport(systemClock, {
      write: (text) => void stderr.write(text),
      isTerminal: stderr.isTTY,
      width: () => stderr.columns,
    });
    const from = systemClock.monotonic();
    try {
      const result = await runImport(options, {
        clock: systemClock,
        random: Math.random,
        stdin: process.stdin,
        progressFile: createProgressFile(`${options.input}.import.json`),
        signal: untilInterrupted(),
        report,
      });
      report.end();
      const elapsedMs = systemClock.monotonic() - from;
      process.stdout.write(toSummary(result, { ...options, elapsedMs }));
      if (result.stopped !== null) return 1;
      return result.counts.refused > 0 ? 3 : 0;
    } catch (error) {
      report.end();
      throw error;
    }
  },
};

/** Throws what is wrong with them. */
function toOptions(args: string[], env: Environment): ImportOptions {
  const { values, positionals } = readArguments({
    args,
    maxPositionals: Infinity,
    options: {
      type: { type: 'string' },
      format: { type: 'string' },
      delimiter: { type: 'string', default: ',' },
      url: { type: 'string', default: env.RELAY_URL ?? 'http://127.0.0.1:3000' },
      'key-file': { type: 'string' },
      batch: { type: 'string', default: '500' },
      backfill: { type: 'string', default: 'all' },
      rejected: { type: 'string' },
      restart: { type: 'boolean', default: false },
    },
  });
  const [input, ...others] = positionals;
  if (input === undefined || others.length > 0) {
    throw new UsageError('name one file, or - for stdin');
  }
  const { type, format, rejected, restart, delimiter } = values;
  return {
    input,
    lane: type === undefined ? null : toOneOf('--type', type, lanes),
    format: format === undefined ? toFormat(input) : toOneOf('--format', format, formats),
    delimiter: toDelimiter(delimiter),
    url: toUrl(values.url),
    key: readKey(values['key-file'], env),
    maxCount: toCount(values.batch),
    backfill: toOneOf('--backfill', values.backfill, backfills),
    refusedPath: rejected ?? `${isPipe(input) ? 'import' : input}.rejected.ndjson`,
    restart,
  };
}

function toOneOf<T extends string>(option: string, given: string, choices: readonly T[]): T {
  const chosen = choices.find((choice) => choice === given);
  if (chosen === undefined) throw new UsageError(`${option} must be ${choices.join(' or ')}`);
  return chosen;
}

function toFormat(input: string): ImportOptions['format'] {
  if (/\.csv$/i.test(input)) return 'csv';
  if (/\.(ndjson|jsonl)$/i.test(input)) return 'ndjson';
  throw new UsageError('say what the input is: --format ndjson or --format csv');
}

function toDelimiter(given: string): string {
  const delimiter = given === '\\t' ? '\t' : given;
  if (delimiter.length === 1 && !/["\r\n]/.test(delimiter)) return delimiter;
  throw new UsageError('--delimiter must be one character, such as ";" or "\\t"');
}

function isPipe(input: string): boolean {
  return input === '-' || statSync(input, { throwIfNoEntry: false })?.isFile() === false;
}

/** The key may be in no URL: those are shown, and kept in FILE.import.json. */
function toUrl(given: string): string {
  const url = URL.canParse(given) ? new URL(given) : null;
  if (url === null || !/^https?:$/.test(url.protocol) || url.username !== '' || url.search !== '') {
    throw new UsageError('--url must be an http or https URL without user, password and query');
  }
  return url.href.replace(/\/+$/, '');
}

function toCount(given: string): number {
  const count = Number(given);
  if (Number.isInteger(count) && count >= 1 && count <= 10_000) return count;
  throw new UsageError('--batch must be a whole number from 1 to 10000');
}

function readKey(path: string | undefined, env: Environment): string | null {
  const fromEnvironment = env.RELAY_API_KEY ?? '';
  if (path !== undefined && fromEnvironment !== '') {
    throw new UsageError('set RELAY_API_KEY or --key-file, not both');
  }
  const key = (path === undefined ? fromEnvironment : readKeyFile(path)).trim();
  if (key === '') {
    if (path !== undefined) throw new UsageError(`${path} is empty`);
    return null;
  }
  if (!/^[\x21-\x7e]+$/.test(key)) throw new UsageError('the key must be one word in ASCII');
  return key;
}

function readKeyFile(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    throw new UsageError(
      `--key-file cannot be read: ${error instanceof Error ? error.message : ''}`,
    );
  }
}

/** The first signal asks; a second one finds nobody listening, and ends the process. */
function untilInterrupted(): AbortSignal {
  const interrupted = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => interrupted.abort());
  }
  return interrupted.signal;
}
