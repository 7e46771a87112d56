import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { afterAll, beforeAll, it } from 'vitest';
import type { Lane } from '../src/model/lane.js';
import { interleave, toRatio, toSpread } from './support/compare.js';
import { needTools, pinned } from './support/program.js';
import { save, type Row } from './support/results.js';

const rounds = Number(process.env.ROUNDS ?? 5);
const program = new URL('programs/drafting.js', import.meta.url).pathname;

const rows: Row[] = [];
beforeAll(() => needTools('taskset'));
afterAll(() => save('drafting', rows));

type What = 'draft' | 'parse';

async function measure(what: What, lane: Lane): Promise<number> {
  const [command, args] = pinned('server', [process.execPath, program]);
  const env = { WHAT: what, LANE: lane };
  const { stdout } = await promisify(execFile)(command, args, { env });
  return (JSON.parse(stdout) as { perSecond: number }).perSecond;
}

it.each([
  ['3 bound', 'events'],
  ['11 bound', 'profiles'],
] as const)('%s: reading, checking and mapping %s, and nothing else', async (row, lane) => {
  const { drafted, parsed } = await interleave(rounds, {
    drafted: () => measure('draft', lane),
    parsed: () => measure('parse', lane),
  });
  rows.push({
    row,
    what: `${lane} read, checked, mapped and serialised per second, and nothing else, one core`,
    against: 'JSON.parse and JSON.stringify, and nothing else',
    measured: toRatio(drafted, parsed),
    ...{ unit: '×', least: '–', aim: '–' },
    absolute: { [`drafted, ${lane}/s`]: toSpread(drafted), parsed: toSpread(parsed) },
  });
});
