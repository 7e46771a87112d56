import type { Lane } from '../model/lane.js';
import type { DryRunResult, Finding } from './dry-run.js';
import { isAllRejected, toInputName, toNumber } from './report.js';

/** The report of a dry run, for the terminal. */
export function toDryReport(result: DryRunResult, input: string): string {
  const { lane, columns, counts, refused, warned, examples } = result;
  const lines = [
    `${toInputName(input)}: ${toVerdict(result)}; nothing was sent`,
    ...(columns === null ? [] : ['  columns', ...columns.targets.map(toColumnLine)]),
    `  read        ${toNumber(counts.read)} ${lane}`,
    `  accepted    ${toNumber(counts.accepted)}`,
    `  duplicates  ${toNumber(counts.duplicates)}`,
    `  rejected    ${toNumber(counts.refused)}`,
    ...refused.map(toFindingLine),
    ...(counts.warned === 0
      ? []
      : [`  warned      ${toNumber(counts.warned)}: accepted with a part left out`]),
    ...warned.map(toFindingLine),
    ...(examples.length === 0 ? [] : [toExamplesHead(lane)]),
    ...examples.map(({ line, body }) => `    line ${line}: ${body}`),
  ];
  return `${lines.join('\n')}\n`;
}

function toVerdict({ counts, stopped }: DryRunResult): string {
  if (stopped !== null) return `the input was not read to its end: ${stopped}`;
  if (counts.read === 0) return 'the input contains no entries';
  if (isAllRejected(counts)) return 'every entry would be rejected';
  return counts.refused > 0 ? 'some entries would be rejected' : 'every entry would be accepted';
}

const toColumnLine = ({ column, fields }: { column: string; fields: readonly string[] }): string =>
  `    ${column} → ${fields.length === 0 ? 'left out' : fields.join(', ')}`;

const toFindingLine = ({ reason, count, lines }: Finding): string =>
  `    ${toNumber(count)}: ${reason} (line ${lines.join(', ')}${count > lines.length ? ', …' : ''})`;

const toExamplesHead = (lane: Lane): string => `  the first ${lane} as they would be posted`;
