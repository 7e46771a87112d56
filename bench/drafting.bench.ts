import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { afterAll, beforeAll, it } from 'vitest';
import { interleave, toRatio, toSpread } from './support/compare.js';
import { needTools, pinned } from './support/program.js';
import { save, type Row } from './support/results.js';

const rounds = Number(process.env.ROUNDS ?? 5);
const program = new URL('programs/drafting.js', import.meta.url).pathname;

const rows: Row[] = [];
beforeAll(() => needTools('taskset'));
afterAll(() => save('drafting', rows));

async function measure(what: 'draft' | 'parse'): Promise<number> {
  const [command, args] = pinned('server', [process.execPath, program]);
  const { stdout } = await promisify(execFile)(command, args, { env: { WHAT: what } });
  return (JSON.parse(stdout) as { perSecond: number }).perSecond;
}

it('reading, checking and mapping, and nothing else', async () => {
  const { drafted, parsed } = await interleave(rounds, {
    drafted: () => measure('draft'),
    parsed: () => measure('parse'),
  });
  rows.push({
    row: '3 bound',
    what: 'events read, checked, mapped and serialised per second, and nothing else, one core',
    against: 'JSON.parse and JSON.stringify, and nothing else',
    measured: toRatio(drafted, parsed),
    ...{ unit: '×', least: '–', aim: '–' },
    absolute: { 'drafted, events/s': toSpread(drafted), parsed: toSpread(parsed) },
  });
});
