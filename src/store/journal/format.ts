import { z } from 'zod';
import { readTotals } from './read-totals.js';
import type { Tables } from './tables.js';
import { createTotals, type Totals } from './totals.js';

/** The record that identifies a journal and its format. */
const formatSchema = z.object({
  application: z.literal('klaviyo-relay'),
  version: z.int().min(1),
  /** Part of every id, so that an id of another journal matches nothing in this one. */
  epoch: z.string().regex(/^[0-9a-z]{6}$/),
});

export type Format = z.output<typeof formatSchema>;

/** Converts the tables from version n to n + 1. Runs within a transaction. */
export type Migration = (tables: Tables) => void;

/**
 * By the version they start from. A change of the format adds a migration and a test with a directory of the old
 * format.
 */
const migrations: Readonly<Record<number, Migration>> = {};

export const currentVersion = 1;

/** The data directory cannot be used by this relay. */
export class DirectoryError extends Error {
  constructor(directory: string, why: string) {
    super(`DATA_DIR ${directory} ${why}`);
    this.name = 'DirectoryError';
  }
}

export type Opened = { readonly format: Format; readonly totals: Totals };

export type FormatOptions = {
  readonly directory: string;
  /** Called if the journal is new. */
  readonly newEpoch: () => string;
  /** Tests set their own. */
  readonly steps?: {
    readonly version: number;
    readonly migrations: Readonly<Record<number, Migration>>;
  };
};

/**
 * Reads the format record and the totals. Writes them if the journal is new, and migrates it if it is old. Throws
 * DirectoryError.
 */
export function openFormat(tables: Tables, options: FormatOptions): Opened {
  const { directory, newEpoch, steps = { version: currentVersion, migrations } } = options;
  const stored = tables.meta.get('format');
  if (stored === undefined) {
    if (tables.meta.getCount() > 0)
      throw new DirectoryError(directory, 'has no format record: it is damaged');
    const format: Format = {
      application: 'klaviyo-relay',
      version: steps.version,
      epoch: newEpoch(),
    };
    tables.environment.transactionSync(() => {
      tables.meta.putSync('format', format);
      tables.meta.putSync('totals', createTotals());
    });
    return { format, totals: createTotals() };
  }
  const parsed = formatSchema.safeParse(stored);
  if (!parsed.success)
    throw new DirectoryError(directory, "holds a journal that is not klaviyo-relay's");
  const format = migrate(tables, parsed.data, { ...options, steps });
  const totals = readTotals(tables);
  if (totals === null) throw new DirectoryError(directory, 'has no usable totals: it is damaged');
  return { format, totals };
}

function migrate(
  tables: Tables,
  found: Format,
  { directory, steps }: FormatOptions & { readonly steps: NonNullable<FormatOptions['steps']> },
): Format {
  if (found.version > steps.version) {
    throw new DirectoryError(
      directory,
      `was written by a newer klaviyo-relay (format ${found.version}; this one reads up to ${steps.version})`,
    );
  }
  let format = found;
  while (format.version < steps.version) {
    const step = steps.migrations[format.version];
    if (step === undefined) {
      throw new DirectoryError(
        directory,
        `has format ${format.version}, which this klaviyo-relay no longer reads`,
      );
    }
    const next = { ...format, version: format.version + 1 };
    // One transaction a step, so that a crash leaves either the old or the new version.
    tables.environment.transactionSync(() => {
      step(tables);
      tables.meta.putSync('format', next);
    });
    format = next;
  }
  return format;
}
