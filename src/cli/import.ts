import { systemClock } from '../clock.js';
import type { Environment } from '../config/config.js';
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
import {
  createReport,
  isAllRejected,
  formatImportSummary,
  formatTotal,
  formatDryRun,
} from '../import/report.js';
import { selectRevision, toRules } from '../klaviyo/revision.js';
import type { Command } from './command.js';
import { readImportOptions } from './import-options.js';

const help = `Usage: klaviyo-relay import FILE... [options]

Posts a history of events, profiles or subscriptions to a running relay, in batches and in order, one file
after the other. FILE is NDJSON or CSV, compressed with gzip or not; - is stdin. Entries that the relay
rejects are written to a file with the reasons, and the import continues. docs/guides/import.md has recipes
for the exports of shops and spreadsheets.

Input:
  --type TYPE       events, profiles or subscriptions. Required unless the header of CSV, the first line of
                    NDJSON, --map or --set has event_name: then the entries are events
  --format FORMAT   ndjson or csv. Default: by the name of FILE (.ndjson, .jsonl, .csv or .tsv, with
                    .gz or not)
  --delimiter CHAR  the character between the cells of CSV. Default: the one in the header (, ; tab or |)
  --encoding NAME   such as windows-1252. Default: UTF-8, or UTF-16 if there is a byte order mark

Fields:
  --map COLUMN=FIELD    the column becomes this field, or properties.NAME, or location.NAME (profiles)
  --set FIELD=VALUE     all entries get this value, as in --set event_name="Placed Order"
  --omit COLUMN         leave this column out
  --empty TEXT          a cell with this text counts as empty, as in --empty NULL
  --time-format FORMAT  the format of event_time, and of the dates of consents: iso (default), epoch
                        (seconds), epoch-ms, or a pattern such as "DD/MM/YYYY HH:mm" or "M/D/YY h:mm A"
  --timezone NAME       the time zone of times without an offset, such as Europe/Berlin or UTC
  --decimal SIGN        the decimal separator of amounts, . or , (without it, 1.299 is ambiguous)
--map, --set, --omit and --empty may be repeated.

Import:
  --dry-run         send nothing; show what each column becomes, what the relay would accept or reject
                    and why, and the first entries
  --url URL         the URL of the relay. Default: RELAY_URL, or http://127.0.0.1:3000
  --key-file FILE   a file that contains a key of the relay. Default: the variable RELAY_API_KEY
  --batch N         the largest number of entries in a request (500). Their bytes are bounded, too
  --backfill WHICH  the events that trigger no flow at Klaviyo: all (default), age (those older than the
                    relay's BACKFILL_AFTER) or none
  --rejected FILE   the file for rejected entries. Default: FILE.rejected.ndjson, or
                    import.rejected.ndjson for a pipe
  --restart         start from the beginning, and overwrite the file of rejected entries

After a 429 or 503 the import waits as long as Retry-After requires. If the relay cannot be reached or
fails, the import retries for about three minutes and then stops. Ctrl-C stops it after the response to
the current batch. FILE.import.json records the progress, and the same command resumes there. An import
does not resume if the input has changed. For stdin and other pipes no progress is recorded. If there are
several files, all are checked before the first one is sent.

An event without insert_id gets one that is derived from its line and the line's number. An event that is
posted twice, after a crash or with --restart, is therefore a duplicate to the relay and to Klaviyo.

CSV starts with a header. A column becomes the field (openapi.yaml) of the same name; case, blanks, - and _
are ignored (E-MAIL, Event Name). Email Address becomes email. No other name is guessed. Any other column
of events becomes a property, with or without "properties." before its name. Any other column of profiles
becomes a custom property, and location.NAME becomes a part of the location. An empty cell is an absent
field. value and total_amount may be formatted for people ($1,299.00, 12,50 EUR). Custom properties that
look like a number become numbers; everything else is text. A column called properties holds JSON.

Subscriptions are consents from the past. A file of subscribers has email_marketing_consent (subscribed, or
unsubscribed and the like) with its date in email_marketing_consent_timestamp, or the same for sms, as
Klaviyo's exports do. A consent that is unclear, or without a date in the past, is rejected; people who did
not consent are skipped. Other columns are left out. --set list_id=ID puts the people into a list.

A rejected entry is a line {"line","errors":[{"pointer","detail"}],"entry"}.
\`jq -c .entry FILE.rejected.ndjson\` makes an input of these entries, which you can correct and import
without --map, --set and --time-format, because these are already applied.

Exit code 0: every entry is accepted, now or in an earlier run; 1: the import stopped; 2: the command line
is invalid; 3: some entries were rejected; 4: every entry of a file was rejected. --dry-run exits with the
code that an import would have.
`;

/** Imports files into a running relay. */
export const importCommand: Command = {
  help,
  async run({ args, env }) {
    const { inputs, isDryRun } = readImportOptions(args, env);
    const signal = createInterruptSignal();
    return isDryRun ? dryRunAll(inputs, env, signal) : importAll(inputs, signal);
  },
};

const exitCodes = { stopped: 1, someRejected: 3, allRejected: 4 };

async function importAll(inputs: readonly ImportOptions[], signal: AbortSignal): Promise<number> {
  const isOne = inputs.length === 1;
  const allDeps = inputs.map(({ input }, at) => createDeps(input, formatLabel(inputs, at), signal));
  const all = inputs.flatMap((options, at) => {
    const deps = allDeps[at];
    return deps === undefined ? [] : [{ options, deps }];
  });
  if (!isOne)
    for (const { options, deps } of all) await withInputName(options, checkImport(options, deps));
  const results: ImportResult[] = [];
  for (const { options, deps } of all) {
    const from = systemClock.monotonic();
    const result = await withInputName(options, runImport(options, deps)).finally(() =>
      deps.report.end(),
    );
    const elapsedMs = systemClock.monotonic() - from;
    process.stdout.write(formatImportSummary(result, { ...options, elapsedMs }));
    results.push(result);
    // After a damaged file the next one is imported. If the relay cannot be reached, the others are not tried.
    if (result.stopped !== null && !result.isDamaged) break;
  }
  if (!isOne)
    process.stdout.write(
      formatTotal(
        results,
        inputs.map(({ input }) => input),
      ),
    );
  return selectExitCode(results);
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
    const { stdin, clock, report } = createDeps(options.input, formatLabel(inputs, at), signal);
    const deps = { stdin, clock, report, signal, rules, defaultCountry: country };
    const result = await withInputName(options, dryRun(options, deps)).finally(() => report.end());
    process.stdout.write(formatDryRun(result, options.input));
    results.push(result);
  }
  return selectExitCode(results);
}

type Ended = Pick<ImportResult, 'stopped' | 'counts'>;

function selectExitCode(results: readonly Ended[]): number {
  if (results.some(({ stopped }) => stopped !== null)) return exitCodes.stopped;
  if (results.some(({ counts }) => isAllRejected(counts))) return exitCodes.allRejected;
  return results.some(({ counts }) => counts.refused > 0) ? exitCodes.someRejected : 0;
}

type Deps = ImportDeps & { readonly report: ReturnType<typeof createReport> };

function createDeps(input: string, label: string, signal: AbortSignal): Deps {
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
function formatLabel(inputs: readonly ImportOptions[], at: number): string {
  const { input = '' } = inputs[at] ?? {};
  return inputs.length === 1 ? '' : `${at + 1}/${inputs.length} ${input}  `;
}

/** Adds the name of the input to an error that concerns it. */
async function withInputName<T>({ input }: ImportOptions, work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    if (!(error instanceof ImportError) || error.message.startsWith(input)) throw error;
    throw new ImportError(`${input === '-' ? 'stdin' : input}: ${error.message}`);
  }
}

/** The first signal stops the import. The second has no listener and ends the process. */
function createInterruptSignal(): AbortSignal {
  const interrupted = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => interrupted.abort());
  }
  return interrupted.signal;
}
