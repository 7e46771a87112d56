import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseJson, stringifyJson, type Parsed } from '../../src/json/json.js';
import { parseInSteps, smallChars, type FindExcess } from '../../src/json/large.js';

/** Reads a text to its end, and counts the steps that it takes. */
function read(text: string, findExcess: FindExcess = () => null): Parsed & { steps: number } {
  const reading = parseInSteps(text, findExcess);
  for (let steps = 1; ; steps++) {
    const step = reading.next();
    if (step.done === true) return { ...step.value, steps };
  }
}

const valueOf = (parsed: Parsed): string | null => (parsed.ok ? stringifyJson(parsed.value) : null);
const listed = (count: number, toText: (index: number) => string): string =>
  Array.from({ length: count }, (_, index) => toText(index)).join(',');
const filler = 'x'.repeat(3000);

describe('the reader of long texts has the same result as parseJson and', () => {
  /** Members long enough that most of the texts are read in steps, and some members are, too. */
  const { value } = fc.letrec((tie) => ({
    value: fc.oneof(
      { depthSize: 'small' },
      fc.jsonValue({ maxDepth: 1 }),
      fc.constant(filler),
      fc.array(tie('value'), { maxLength: 9 }),
      fc.dictionary(fc.string({ maxLength: 3 }), tie('value'), { maxKeys: 9 }),
    ),
  }));

  it('returns the same value', () => {
    fc.assert(
      fc.property(fc.array(value, { minLength: 8, maxLength: 12 }), (values) => {
        const text = JSON.stringify(values, null, 1);
        expect(valueOf(read(text))).toBe(valueOf(parseJson(text)));
      }),
      { numRuns: 200 },
    );
  });

  it('rejects what parseJson rejects', () => {
    const damage = fc.tuple(
      fc.nat(200_000),
      fc.constantFrom('', ',', '"', '[', ']', '}', '{', 'x'),
    );
    fc.assert(
      fc.property(fc.array(value, { minLength: 8, maxLength: 12 }), damage, (values, [at, by]) => {
        const whole = JSON.stringify(values);
        const place = at % whole.length;
        const text = whole.slice(0, place) + by + whole.slice(place + 1);
        expect(read(text).ok).toBe(parseJson(text).ok);
      }),
      { numRuns: 300 },
    );
  });

  it.each([
    ['a name that comes twice', `{"a":1,"b":"${filler.repeat(6)}","a":2}`, ['a']],
    ['a name that comes twice, of a long member', `{"a":1,"a":["${filler.repeat(6)}",1]}`, ['a']],
    ['a harmful name', `{"a":["${filler.repeat(6)}",{"__proto__":1}]}`, ['a', 1, '__proto__']],
    ['a harmful name of a long member', `{"__proto__":["${filler.repeat(6)}",1]}`, ['__proto__']],
    ['a number that overflows', `[[1,2,"${filler.repeat(6)}",1e999]]`, [0, 3]],
  ])('reports %s with its path', (_name, text, path) => {
    const parsed = read(text);
    expect(parsed.ok && parsed.issues.map((fault) => fault.path)).toEqual([path]);
  });

  it('keeps the digits of integers that a number cannot hold', () => {
    const text = `{"a":[${listed(2000, () => '12345678901234567890')}]}`;
    expect(valueOf(read(text))).toBe(text);
  });

  it('reports the character at which the text is not JSON', () => {
    const text = `{"a":[${listed(9000, () => '1')}],"b":[1,]}`;
    expect(read(text)).toEqual({ ...parseJson(text), steps: expect.any(Number) as number });
  });

  it('rejects a text that is nested too deeply', () => {
    const text = '['.repeat(50_000) + ']'.repeat(50_000);
    expect(read(text)).toMatchObject({ issues: [{ detail: 'is nested deeper than 64 levels' }] });
  });
});

describe('a step of the reader of long texts reads some kilobytes', () => {
  it.each([
    ['names', `{${listed(100_000, (index) => `"k${index}":1`)}}`],
    ['nested names', `{"a":{"b":{${listed(100_000, (index) => `"k${index}":1`)}}}}`],
    ['numbers', `{"a":[${listed(500_000, () => '1')}]}`],
    ['objects', `[${listed(300_000, () => '{}')}]`],
    ['objects with names of their own', `[${listed(9000, (index) => `{"k${index}":{"a":1}}`)}]`],
    ['exact integers', `[${listed(40_000, () => '12345678901234567890')}]`],
  ])('for a million characters of %s', (_name, text) => {
    const { ok, steps } = read(text);
    expect(ok).toBe(true);
    expect(steps).toBeGreaterThan(text.length / smallChars / 2);
  });

  it('so that a short text is one step', () => {
    expect(read('{"a":[1,2,3]}').steps).toBe(1);
  });
});

describe('an exceeded limit in a long text', () => {
  const atMost =
    (most: number): FindExcess =>
    ({ count }) =>
      count > most ? `has more than ${most} members` : null;

  it('is reported with its field, and the rest of the field is not read', () => {
    const text = `{"first":1,"long":[${listed(1_000_000, () => '1')}],"last":{"a":[1]}}`;
    const { steps, ...parsed } = read(text, atMost(5000));
    expect(parsed).toEqual({
      ok: true,
      value: { first: 1, long: null, last: { a: [1] } },
      issues: [{ path: ['long'], detail: 'has more than 5000 members' }],
    });
    expect(steps).toBeLessThan(12);
  });

  it('is reported for each container but not again for the outer ones', () => {
    const long = `[${listed(6000, () => '{"a":1}')}]`;
    const parsed = read(`{"a":{"b":${long}},"c":${long}}`, ({ path, total }) =>
      path.length > 0 && total > 5000 ? 'holds too much' : null,
    );
    expect(parsed.ok && parsed.issues.map(({ path }) => path)).toEqual([['a', 'b'], ['c']]);
  });

  it('counts the values of all containers', () => {
    const totals: number[] = [];
    const inner = `[${listed(3000, () => '[1,2]')}]`;
    read(`{"a":${inner},"b":${inner}}`, ({ total }) => {
      totals.push(total);
      return null;
    });
    // In each: 3,000 arrays of two.
    expect(totals.at(-1)).toBeGreaterThan(2 * 3000 * 3);
    expect(totals.at(-1)).toBeLessThan(2 * 3000 * 3.1);
  });
});
