import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseJson } from '../../src/json/json.js';
import { cutList, toListOpening } from '../../src/json/cut.js';

const opening = toListOpening('events');
const cut = (text: string, chars = 4) => [...cutList(Buffer.from(text), opening, chars)];
const textsOf = (text: string, chars = 4) => cut(text, chars).map((each) => each.text);

describe('a JSON list is cut between its elements', () => {
  it.each([
    ['[]', ['[]']],
    ['[1,22,333,4]', ['[1,22]', '[333,4]']],
    [' [ 1 , 22 ,333,4 ] ', [' [ 1 , 22 ]', ' [333,4 ] ']],
    ['[[1,2,3,4],[5,6,7,8]]', ['[[1,2,3,4]]', '[[5,6,7,8]]']],
    ['[{"a":"],[\\","},{"b":2}]', ['[{"a":"],[\\","}]', '[{"b":2}]']],
    ['{"events":[1234,5678]}', ['{"events":[1234]}', '{"events":[5678]}']],
    ['{ "events" : [1234,5678], "x":1}', ['{ "events" : [1234]}', '{ "events" : [5678], "x":1}']],
  ])('in %s', (text, texts) => {
    expect(textsOf(text)).toEqual(texts);
  });

  it.each([
    '{"a":1234,"events":[1234,5678]}',
    '"[1234,5678]"',
    '12345,6789',
    '',
    '{"other":[1234,5678]}',
  ])('unless it starts with %s', (text) => {
    expect(cut(text)).toEqual([{ text, shift: 0 }]);
  });

  it('unless it starts after many blanks', () => {
    expect(cut(`${' '.repeat(100)}[1234,5678]`)).toHaveLength(1);
  });
});

const list = fc
  .tuple(fc.constantFrom('[', ' [\n', '{"events":[', '{ "events" :\t['), fc.array(fc.jsonValue()))
  .map(([before, values]) => {
    const elements = values.map((value) => JSON.stringify(value)).join(', ');
    return `${before}${elements}${before.includes('{') ? ']}' : ']'}`;
  });
const chars = fc.integer({ min: 0, max: 40 });
const listOf = (text: string): readonly unknown[] => {
  const value = JSON.parse(text) as readonly unknown[] | { readonly events: readonly unknown[] };
  return 'events' in value ? value.events : value;
};

it('the parts of a cut list contain all elements once and in order', () => {
  fc.assert(
    fc.property(list, chars, (text, length) => {
      expect(textsOf(text, length).flatMap(listOf)).toEqual(listOf(text));
    }),
  );
});

it('the shift of a part is its position in the whole list', () => {
  fc.assert(
    fc.property(list, chars, (text, length) => {
      const from = opening.pattern.exec(text)?.[0].length ?? 0;
      for (const each of cut(text, length)) {
        const inside = each.text.slice(from).replace(/\]\}?$/, '');
        expect(text.startsWith(inside, from + each.shift)).toBe(true);
      }
    }),
  );
});

describe('a text that is not JSON, cut into parts,', () => {
  const isJson = (text: string): boolean => parseJson(text).ok;
  const piece = fc.constantFrom(',', '[', ']', '{', '}', '"', '\\', ':', ' ', '1', 'x', '');
  const damaged = fc
    .tuple(list, fc.nat(), fc.nat({ max: 2 }), piece)
    .map(([text, place, length, instead]) => {
      const at = place % text.length;
      return text.slice(0, at) + instead + text.slice(at + length);
    });

  it.each(['[,1234]', '[    ,1234]', '[1234,    ,5678]', '[1234,,5678]', '[1234,5678,]', '[,]'])(
    'has a part that is not JSON if an element is missing: %s',
    (text) => {
      expect(textsOf(text).every(isJson)).toBe(false);
    },
  );

  it('has a part that is not JSON, unlike a valid text', () => {
    fc.assert(
      fc.property(damaged, chars, (text, length) => {
        expect(textsOf(text, length).every(isJson)).toBe(isJson(text));
      }),
      { numRuns: 2000 },
    );
  });

  it('has its issue at the same position as the whole text', () => {
    fc.assert(
      fc.property(damaged, chars, (text, length) => {
        const whole = parseJson(text);
        fc.pre(!whole.ok && whole.issue.detail.includes(' character '));
        const read = cut(text, length).map((each) => parseJson(each.text, each.shift));
        expect(read.find((each) => !each.ok)).toEqual(whole);
      }),
      { numRuns: 2000 },
    );
  });
});

it('cutList keeps characters of several bytes whole and counts them as one', () => {
  const [first, second] = cut('["ü€","😀","x"]', 1);
  expect(first).toEqual({ text: '["ü€"]', shift: 0 });
  expect(second).toEqual({ text: '["😀"]', shift: 5 });
  expect(textsOf('["ü€","😀","x"]', 1)).toEqual(['["ü€"]', '["😀"]', '["x"]']);
});
