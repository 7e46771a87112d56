import { systemClock } from '../clock.js';
import type { Environment } from '../config/config.js';
import { toDryReport } from '../import/dry-report.js';
import { dryRun } from '../import/dry-run.js';
import { ImportError } from '../import/import-error.js';
import {
  checkImport,
  runImport,
  type ImportDeps,
  type ImportOptions,
  type ImportResult,
} from '../import/importer.js';
import { createProgressFile } from '../import/progress.js';
import { createReport, isAllRejected, toSummary, toTotal } from '../import/report.js';
import { selectRevision, toRules } from '../klaviyo/revision.js';
import type { Command } from './command.js';
import { readImportOptions } from './import-options.js';

const help = `Usage: klaviyo-relay import FILE... [options]

Posts a history of events or profiles, NDJSON or CSV, gzip or not, to a running relay, in batches and
in order, one file after the other. FILE is - for stdin. What the relay refuses goes into a file with
the reasons; all else goes on. docs/guides/import.md has recipes for the exports of shops and spreadsheets.

What the input is:
  --type TYPE       events or profiles; needed unless the CSV's header, the first line of NDJSON, --map
                    or --set has event_name: then they are events
  --format FORMAT   ndjson or csv; else by FILE's name: .ndjson, .jsonl, .csv, .tsv, with .gz or not
  --delimiter CHAR  between the cells of CSV; else the one in its header: , ; tab or |
  --encoding NAME   such as windows-1252; else UTF-8, or UTF-16 with a byte order mark

What its fields are:
  --map COLUMN=FIELD    the column becomes this field, or properties.NAME, or location.NAME (profiles)
  --set FIELD=VALUE     all entries have this value, as in --set event_name="Placed Order"
  --omit COLUMN         the column becomes nothing
  --empty TEXT          a cell with this text is empty, as in --empty NULL
  --time-format FORMAT  how event_time is written: iso (default), epoch (seconds), epoch-ms, or a
                        pattern such as "DD/MM/YYYY HH:mm" or "M/D/YY h:mm A"
  --timezone NAME       of times without an offset, such as Europe/Berlin or UTC
  --decimal SIGN        . or , before the decimals of amounts: 1.299 may be a thousand and more
The first four may be given more than once.

What happens:
  --dry-run         send nothing; show what each column becomes, what the relay would accept and refuse
                    and why, and the first entries
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
that has changed since is not gone on with. Of stdin, or another pipe, nothing is kept. All files are
looked at before the first is sent.

An event without insert_id gets one made of its line and the line's number, so that whatever is
posted twice, after a crash or with --restart, is a duplicate to the relay and to Klaviyo.

CSV begins with a header. A column is a field (openapi.yaml) where it has its name, in any case and
with blanks, - or _ between the words (E-MAIL, Event Name), and Email Address is email; nothing else
is guessed. Of events any other column, with or without "properties." before it, is a property; of
profiles it is a custom property, and "location." leads into the location. An empty cell is an absent
field. value and total_amount may be written for people ($1,299.00, 12,50 EUR); custom properties that
look like a number are numbers, all else is text; a column called properties holds JSON.

A refused entry is a line {"line","errors":[{"pointer","detail"}],"entry"}:
\`jq -c .entry FILE.rejected.ndjson\` makes an input of them, to mend and to import, without --map,
--set and --time-format: they have been applied.

Exit code 0: all taken, now or before; 1: stopped; 2: not understood; 3: some were refused; 4: of a
file everything was refused. --dry-run ends with what an import would end with.
`;

/** Imports files into a running relay. */
export const importCommand: Command = {
  help,
  async run({ args, env }) {
    const { inputs, isDryRun } = readImportOptions(args, env);
    const signal = untilInterrupted();
    return isDryRun ? dryRunAll(inputs, env, signal) : importAll(inputs, signal);
  },
};

const exitCodes = { stopped: 1, someRefused: 3, allRefused: 4 };

async function importAll(inputs: readonly ImportOptions[], signal: AbortSignal): Promise<number> {
  const isOne = inputs.length === 1;
  const allDeps = inputs.map(({ input }, at) => toDeps(input, toLabel(inputs, at), signal));
  const all = inputs.flatMap((options, at) => {
    const deps = allDeps[at];
    return deps === undefined ? [] : [{ options, deps }];
  });
  if (!isOne) for (const { options, deps } of all) await named(options, checkImport(options, deps));
  const results: ImportResult[] = [];
  for (const { options, deps } of all) {
    const from = systemClock.monotonic();
    const result = await named(options, runImport(options, deps)).finally(() => deps.report.end());
    const elapsedMs = systemClock.monotonic() - from;
    process.stdout.write(toSummary(result, { ...options, elapsedMs }));
    results.push(result);
    // After a damaged file the next one may be fine. After an unreachable relay it is not.
    if (result.stopped !== null && !result.isDamaged) break;
  }
  if (!isOne)
    process.stdout.write(
      toTotal(
        results,
        inputs.map(({ input }) => input),
      ),
    );
  return toExitCode(results);
}

async function dryRunAll(
  inputs: readonly ImportOptions[],
  env: Environment,
  signal: AbortSignal,
): Promise<number> {
  const country = env.DEFAULT_PHONE_COUNTRY?.toUpperCase();
  const revision = env.KLAVIYO_REVISION ?? 'auto';
  const rules = toRules(revision === 'auto' ? selectRevision(systemClock.now()) : revision);
  const results = [];
  for (const [at, options] of inputs.entries()) {
    const { stdin, clock, report } = toDeps(options.input, toLabel(inputs, at), signal);
    const deps = { stdin, clock, report, signal, rules, defaultCountry: country };
    const result = await named(options, dryRun(options, deps)).finally(() => report.end());
    process.stdout.write(toDryReport(result, options.input));
    results.push(result);
  }
  return toExitCode(results);
}

type Ended = Pick<ImportResult, 'stopped' | 'counts'>;

function toExitCode(results: readonly Ended[]): number {
  if (results.some(({ stopped }) => stopped !== null)) return exitCodes.stopped;
  if (results.some(({ counts }) => isAllRejected(counts))) return exitCodes.allRefused;
  return results.some(({ counts }) => counts.refused > 0) ? exitCodes.someRefused : 0;
}

type Deps = ImportDeps & { readonly report: ReturnType<typeof createReport> };

function toDeps(input: string, label: string, signal: AbortSignal): Deps {
  const { stderr } = process;
  const display = {
    write: (text: string) => void stderr.write(text),
    isTerminal: stderr.isTTY,
    width: () => stderr.columns,
  };
  return {
    clock: systemClock,
    random: Math.random,
    stdin: process.stdin,
    progressFile: createProgressFile(`${input}.import.json`),
    signal,
    report: createReport(systemClock, display, label),
  };
}

/** Printed before each progress line if there are several files. */
function toLabel(inputs: readonly ImportOptions[], at: number): string {
  const { input = '' } = inputs[at] ?? {};
  return inputs.length === 1 ? '' : `${at + 1}/${inputs.length} ${input}  `;
}

/** Adds the name of the input to an error that concerns it. */
async function named<T>({ input }: ImportOptions, work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    if (!(error instanceof ImportError) || error.message.startsWith(input)) throw error;
    throw new ImportError(`${input === '-' ? 'stdin' : input}: ${error.message}`);
  }
}

/** The first signal asks the import to stop. The second has no listener and ends the process. */
function untilInterrupted(): AbortSignal {
  const interrupted = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => interrupted.abort());
  }
  return interrupted.signal;
}
