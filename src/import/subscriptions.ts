/**
 * From a row of a file of subscribers to the subscriptions that are posted: one for each channel of
 * which the row says something, because a posted subscription has one date. Consent is never
 * guessed: a row without a clear consent, or without its date, is rejected.
 */

import type { Clock } from '../clock.js';
import type { Issue } from '../model/outcome.js';
import type { Columns, ReadEntry } from './columns.js';
import {
  consentChannels,
  consentDateNames,
  consentFields,
  consentNames,
  type ConsentChannel,
} from './consents.js';
import { createReadCells, type ReadRow, type RowEntry } from './prepare.js';

/** For CSV. The clock shows which dates are in the future. */
export function createReadSubscriptions(columns: Columns, clock: Pick<Clock, 'now'>): ReadRow {
  const readCells = createReadCells(columns);
  const findColumn: FindColumn = (field) =>
    columns.targets.find(({ fields }) => fields.includes(field))?.column;
  return (row) => {
    const content = readCells(row);
    if (content.kind !== 'entry') return content;
    const context: Context = { ...splitRow(content), now: clock.now(), findColumn };
    const entries = consentChannels.flatMap((channel) => readChannel(channel, context) ?? []);
    return { kind: 'entries', entries: entries.length > 0 ? entries : [reject(context)] };
  };
}

/** Returns the name of the column of a field. Undefined: `--set` gives the field, or nothing. */
type FindColumn = (field: string) => string | undefined;

type Context = {
  /** The fields of the consents, and their errors. */
  readonly consents: ReadEntry;
  /** The fields that all subscriptions of a row share. */
  readonly person: ReadEntry;
  /** Epoch ms. */
  readonly now: number;
  readonly findColumn: FindColumn;
};

const ofConsents = new Set([...consentNames, ...consentDateNames]);

function splitRow({ entry, errors }: ReadEntry): Pick<Context, 'consents' | 'person'> {
  const select = (isWanted: (name: string) => boolean): ReadEntry => ({
    entry: Object.fromEntries(Object.entries(entry).filter(([name]) => isWanted(name))),
    errors: errors.filter(({ pointer }) => isWanted(pointer.slice(1))),
  });
  return {
    consents: select((name) => ofConsents.has(name)),
    person: select((name) => !ofConsents.has(name)),
  };
}

/** Null: the row says nothing of this channel. */
function readChannel(
  channel: ConsentChannel,
  { consents, person, now, findColumn }: Context,
): RowEntry | null {
  const fields = consentFields[channel];
  const { [fields.consent]: consent, [fields.date]: date } = consents.entry;
  if (consent === undefined && date === undefined) return null;
  if (consent === false) return { entry: person.entry, errors: [], isSkipped: true };
  const findFault = (field: string): string | undefined =>
    consents.entry[field] === undefined
      ? 'is required: the cell is empty'
      : consents.errors.find(({ pointer }) => pointer === `/${field}`)?.detail;
  const toIssues = (
    pointer: string,
    field: string,
    fault: string | undefined,
  ): readonly Issue[] => {
    const column = findColumn(field);
    const from = column === undefined ? `--set ${field}` : `column ${column}`;
    return fault === undefined ? [] : [{ pointer, detail: `${fault} (${from})` }];
  };
  const isFuture = typeof date === 'string' && Date.parse(date) > now;
  const dateFault = findFault(fields.date) ?? (isFuture ? 'is in the future' : undefined);
  return {
    entry: {
      ...person.entry,
      // A text that is no clear consent stays, for the person who corrects it.
      channels: { [channel]: consent === true ? ['marketing'] : (consent ?? null) },
      historical: true,
      ...(date !== undefined && { consented_at: date }),
    },
    errors: [
      ...toIssues(`/channels/${channel}`, fields.consent, findFault(fields.consent)),
      ...toIssues('/consented_at', fields.date, dateFault),
      ...person.errors,
    ],
  };
}

/** Rejects a row that says nothing of any channel. */
function reject({ person, findColumn }: Context): RowEntry {
  const columns = consentNames.flatMap((name) => findColumn(name) ?? []);
  const detail = `is required: the cells are empty (column ${columns.join(', ')})`;
  return {
    entry: { ...person.entry, historical: true },
    errors: [{ pointer: '/channels', detail }, ...person.errors],
  };
}
