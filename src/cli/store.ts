import { systemClock } from '../clock.js';
import { settingsSchema } from '../config/config.js';
import { openOffline, type OfflineJournal } from '../store/journal/offline.js';
import { findNearName } from '../near-name.js';
import { readArguments, suggest, UsageError } from './arguments.js';
import type { Command } from './command.js';
import { withEnvFile } from './environment.js';
import { print } from './outputs.js';

const help = `Usage: klaviyo-relay store check|export [DIRECTORY]

Reads the journal of a stopped relay. DIRECTORY defaults to DATA_DIR.

  check    reads the whole journal and reports damage. Exit code 0: no damage; 1: damage
  export   writes unsettled envelopes and dead letters to stdout, one JSON object a line. Records that
           cannot be read are reported on stderr and left out. Exit code 1: something was left out
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
    if (name === undefined) throw new UsageError('specify check or export');
    const action = actions[name];
    if (action === undefined) {
      const near = suggest(findNearName(name, Object.keys(actions)));
      throw new UsageError(`unknown action "store ${name}"${near}`);
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
  let faultCount = 0;
  for (const fault of journal.check()) {
    faultCount++;
    await print(`BAD  ${fault}\n`);
  }
  await print(`format ${format.version}, ids of epoch ${format.epoch}\n`);
  for (const [lane, { count, bytes, deadLetters }] of Object.entries(totals.lanes)) {
    await print(`${lane}: ${count} unsettled (${bytes} bytes), ${deadLetters} dead letters\n`);
  }
  await print(`${factCount} facts\n`);
  await print(faultCount === 0 ? 'ok: everything can be read\n' : `${faultCount} faults\n`);
  return faultCount === 0 ? 0 : 1;
}

async function exportJournal(journal: OfflineJournal): Promise<number> {
  let faultCount = 0;
  const lines = journal.export((what) => {
    faultCount++;
    process.stderr.write(`left out: ${what}\n`);
  });
  for (const line of lines) await print(`${line}\n`);
  return faultCount === 0 ? 0 : 1;
}
