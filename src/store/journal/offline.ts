import { storeLanes, type StoreLane } from '../../model/lane.js';
import { Backlog } from './backlog.js';
import { decodeDeadLetter } from './dead-letter-codec.js';
import { Directory } from './directory.js';
import { countFacts } from './facts.js';
import { DirectoryError, openFormat, type Opened } from './format.js';
import { toId } from '../ids.js';
import { openTables, type Tables } from './tables.js';
import { laneNumbers } from './totals.js';
import { verify } from './verify.js';

/** A journal that no relay has open. */
export type OfflineJournal = Opened & {
  readonly factCount: number;
  /** What is wrong with it, a sentence each. */
  check(): Generator<string>;
  /** Unsettled envelopes and dead letters, one JSON object a line; `onFatal` is told what cannot be read. */
  export(onFatal: (what: string) => void): Generator<string>;
  close(): Promise<void>;
};

/** Takes the directory for this process. Throws DirectoryError, also where a relay holds it. */
export async function openOffline(path: string, now: number): Promise<OfflineJournal> {
  const directory = Directory.open(path, { create: false, now });
  const { file } = directory;
  const short = directory.short();
  let tables: Tables | undefined;
  const close = async (): Promise<void> => {
    await tables?.environment.close();
    if (short !== null) file.truncate(short.fileBytes);
    directory.release();
  };
  try {
    directory.refuseForeignLock();
    // Filled up, so that reading beyond the end is an error and not the end of the process.
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
  for (const { key, value } of tables.letters.getRange()) {
    yield* tolerant(options, function* () {
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
      yield toLine({ kind: 'dead_letter', ...shown }, payload);
    });
  }
}

function* exportLane(tables: Tables, lane: StoreLane, options: ExportOptions): Generator<string> {
  const number = laneNumbers[lane];
  const backlog = new Backlog(tables, number);
  for (const key of tables.blocks.getKeys({ start: [number], end: [number + 1] })) {
    yield* tolerant(options, function* () {
      const { block, entries } = backlog.read(key);
      for (const [index, { seq, acceptedAt, payload }] of entries.entries()) {
        const mark = block.marks[index] ?? null;
        if (mark === 'gone') continue;
        const id = toId({ lane, epoch: options.epoch, seq });
        const attempts = mark?.attempts ?? 0;
        yield toLine({ kind: 'envelope', id, lane, acceptedAt, attempts }, payload);
      }
    });
  }
}

/** One that cannot be read does not keep the others. */
function* tolerant({ onFatal }: ExportOptions, read: () => Generator<string>): Generator<string> {
  try {
    yield* read();
  } catch (error) {
    onFatal(error instanceof Error ? error.message : String(error));
  }
}

/** The payload goes out as it is stored: parsed and written again, large numbers would change. */
function toLine(facts: object, payload: Uint8Array): string {
  return `${JSON.stringify(facts).slice(0, -1)},"payload":${Buffer.from(payload).toString()}}`;
}
