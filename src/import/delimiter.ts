import { ImportError } from './import-error.js';

/** As spreadsheets write it before the header. */
const separatorLine = /^"?sep=(.)"?\r?\n?$/i;

/** Says which delimiter follows, and is no row. */
export function isSeparatorLine(line: string): boolean {
  return separatorLine.test(line);
}

const common = [',', ';', '\t'];

/** The delimiter of CSV by its first line. Throws ImportError where it may be one or another. */
export function toDelimiter(line: string): string {
  const [, told] = separatorLine.exec(line) ?? [];
  if (told !== undefined) return told;
  const unquoted = line.replace(/"(?:[^"]|"")*"/g, '');
  const found = common.filter((delimiter) => unquoted.includes(delimiter));
  if (found.length > 1) {
    const names = found.map((delimiter) => JSON.stringify(delimiter)).join(' and ');
    throw new ImportError(`the header has ${names}: say with --delimiter which one it is`);
  }
  return found[0] ?? (unquoted.includes('|') ? '|' : ',');
}
