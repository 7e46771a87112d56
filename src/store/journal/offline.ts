import { laneTraits, type StoreLane, storeLanes } from '../../model/lane.js';
import { Backlog } from './backlog.js';
import { decodeDeadLetter } from './dead-letter-codec.js';
import { Directory } from './directory.js';
import { countFacts } from './facts.js';
import { DirectoryError, openFormat, type Opened } from './format.js';
import { toId } from '../ids.js';
import { openTables, type Tables } from './tables.js';
import { verify } from './verify.js';
import { toErrorMessage } from '../../error.js';

/** The journal of a stopped relay, for `klaviyo-relay store`. */
export type OfflineJournal = Opened & {
  readonly factCount: number;
  /** Yields one sentence for each error in the journal. */
  check(): Generator<string>;
  /**
   * Yields unsettled envelopes and dead letters as lines of JSON. `onFatal` receives the errors of entries that
   * cannot be read.
   */
  export(onFatal: (what: string) => void): Generator<string>;
  close(): Promise<void>;
};

/** Locks and opens the directory. Throws DirectoryError, also if a relay has it open. */
export async function openOffline(path: string, now: number): Promise<OfflineJournal> {
  const directory = Directory.open(path, { create: false, now });
  const { file } = directory;
  const short = directory.findTruncation();
  let tables: Tables | undefined;
  const close = async (): Promise<void> => {
    await tables?.environment.close();
    if (short !== null) file.truncate(short.fileBytes);
    directory.release();
  };
  try {
    directory.verifyLmdbLock();
    // Filled up with zeros: reading beyond the end of the file would end the process.
    if (short !== null) file.truncate(short.neededBytes);
    const opened = (tables = openTables(directory.journalPath));
    const newEpoch = (): string => {
      throw new DirectoryError(path, 'holds no journal');
    };
    const format = openFormat(opened, { directory: path, newEpoch });
    return {
      ...format,
      factCount: countFacts(opened),
      check: () => verify(opened),
      export: (onFatal) => exportAll(opened, { epoch: format.format.epoch, onFatal }),
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}
type ExportOptions = { readonly epoch: string; readonly onFatal: (what: string) => void };

function* exportAll(tables: Tables, options: ExportOptions): Generator<string> {
  for (const lane of storeLanes) yield* exportLane(tables, lane, options);
  for (const { key, value } of tables.deadLetters.getRange()) {
    yield* reportingErrors(options, function* () {
      const { payload, ...facts } = decodeDeadLetter(value, `dead letter ${key}`);
      const {
        id,
        lane,
        acceptedAt,
        deadLetteredAt: buriedAt,
        attempts,
        deliveryId,
        reason,
      } = facts;
      const shown = { id, lane, acceptedAt, buriedAt, attempts, deliveryId, reason };
      yield toExportLine({ kind: 'dead_letter', ...shown }, payload);
    });
  }
}

function* exportLane(tables: Tables, lane: StoreLane, options: ExportOptions): Generator<string> {
  const number = laneTraits[lane].number;
  const backlog = new Backlog(tables, number);
  for (const key of tables.blocks.getKeys({ start: [number], end: [number + 1] })) {
    yield* reportingErrors(options, function* () {
      const { block, entries } = backlog.read(key);
      for (const [index, { seq, acceptedAt, payload }] of entries.entries()) {
        const state = block.states[index] ?? null;
        if (state === 'settled') continue;
        const id = toId({ lane, epoch: options.epoch, seq });
        const attempts = state?.attempts ?? 0;
        yield toExportLine({ kind: 'envelope', id, lane, acceptedAt, attempts }, payload);
      }
    });
  }
}

/** Reports the error of an entry that cannot be read, so that the others are still exported. */
function* reportingErrors(
  { onFatal }: ExportOptions,
  read: () => Generator<string>,
): Generator<string> {
  try {
    yield* read();
  } catch (error) {
    onFatal(toErrorMessage(error));
  }
}

/** The payload is written as it is stored: parsing and encoding it would change large numbers. */
function toExportLine(facts: object, payload: Uint8Array): string {
  return `${JSON.stringify(facts).slice(0, -1)},"payload":${Buffer.from(payload).toString()}}`;
}
