import fc from 'fast-check';
import { expect, it } from 'vitest';
import { Runs } from '../../src/store/runs.js';

const step = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      kind: fc.constant('push' as const),
      numbers: fc.integer({ min: 1, max: 5 }),
      at: fc.nat(2),
      sequence: fc.nat(2),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('drop' as const), part: fc.nat(10) }) },
);

it('tells of each number what was said of it, however many there are and whichever have left', () => {
  const property = fc.property(fc.array(step, { maxLength: 3000, size: 'max' }), (steps) => {
    const runs = new Runs();
    const said: { readonly at: number; readonly sequence: number }[] = [];
    let first = 0;
    for (const what of steps) {
      if (what.kind === 'push') {
        const { at, sequence } = what;
        runs.push(said.length, at, sequence);
        for (let count = 0; count < what.numbers; count++) said.push({ at, sequence });
      } else if (said.length > first) {
        first += Math.floor(((said.length - 1 - first) * what.part) / 100);
        runs.dropBelow(first);
      }
    }
    const kept = said.slice(first).map((_, index) => first + index);
    expect(
      kept.map((number) => ({ at: runs.at(number), sequence: runs.sequence(number) })),
    ).toEqual(said.slice(first));
  });
  fc.assert(property, { numRuns: 200 });
});
