import { systemClock } from '../clock.js';
import { settingsSchema } from '../config/config.js';
import { openOffline, type OfflineJournal } from '../store/journal/offline.js';
import { findNearName } from '../near-name.js';
import { readArguments, suggest, UsageError } from './arguments.js';
import type { Command } from './command.js';
import { withEnvFile } from './environment.js';
import { print } from './outputs.js';

const help = `Usage: klaviyo-relay store check|export [DIRECTORY]

Reads the journal of a relay that is stopped. DIRECTORY is DATA_DIR where it is not given.

  check    reads it from end to end and says what is wrong. Exit code 0: nothing; 1: something is
  export   writes unsettled envelopes and dead letters to stdout, one JSON object a line; what
           cannot be read is named on stderr and left out. Exit code 1 where anything was left out
`;

const actions: Readonly<Record<string, (journal: OfflineJournal) => Promise<number>>> = {
  check: checkJournal,
  export: exportJournal,
};

/** Checks or exports the journal of a stopped relay. */
export const storeCommand: Command = {
  help,
  async run({ args, env }) {
    const { positionals } = readArguments({ args, options: {}, maxPositionals: 2 });
    const [name, given] = positionals;
    if (name === undefined) throw new UsageError('say check or export');
    const action = actions[name];
    if (action === undefined) {
      const near = suggest(findNearName(name, Object.keys(actions)));
      throw new UsageError(`there is no "store ${name}"${near}`);
    }
    const directory = given ?? settingsSchema.shape.DATA_DIR.parse(withEnvFile(env).DATA_DIR);
    const journal = await openOffline(directory, systemClock.now());
    try {
      return await action(journal);
    } finally {
      await journal.close();
    }
  },
};

async function checkJournal(journal: OfflineJournal): Promise<number> {
  const { format, totals, factCount } = journal;
  let faults = 0;
  for (const fault of journal.check()) {
    faults++;
    await print(`BAD  ${fault}\n`);
  }
  await print(`format ${format.version}, ids of epoch ${format.epoch}\n`);
  for (const [lane, { count, bytes, deadLetters }] of Object.entries(totals.lanes)) {
    await print(`${lane}: ${count} unsettled (${bytes} bytes), ${deadLetters} dead letters\n`);
  }
  await print(`${factCount} facts\n`);
  await print(faults === 0 ? 'ok: everything can be read\n' : `${faults} faults\n`);
  return faults === 0 ? 0 : 1;
}

async function exportJournal(journal: OfflineJournal): Promise<number> {
  let faults = 0;
  const lines = journal.export((what) => {
    faults++;
    process.stderr.write(`left out: ${what}\n`);
  });
  for (const line of lines) await print(`${line}\n`);
  return faults === 0 ? 0 : 1;
}
