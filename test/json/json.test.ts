import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ExactInteger, maxDepth, parseJson, stringifyJson } from '../../src/json/json.js';

const issuesOf = (text: string) => {
  const parsed = parseJson(text);
  return parsed.ok ? parsed.issues : [parsed.issue];
};
const valueOf = (text: string) => {
  const parsed = parseJson(text);
  if (!parsed.ok) throw new Error(parsed.issue.detail);
  return parsed.value;
};

describe('a text that is not JSON', () => {
  it.each([
    ['', 'is empty'],
    [' \n', 'is empty'],
    ['{"a":1', 'is not valid JSON: see character 7'],
    ['[', 'is not valid JSON: it ends early'],
    ['\ufeff{}', 'is not valid JSON: it starts with a byte order mark'],
    ['{"a":1}x', 'is not valid JSON: see character 8'],
    ['NaN', 'is not valid JSON'],
    ['{"a":Infinity}', 'is not valid JSON'],
  ])('%j is rejected with a text: %s', (text, detail) => {
    expect(parseJson(text)).toEqual({ ok: false, issue: { path: [], detail } });
  });

  it('is never quoted in the issue', () => {
    expect(JSON.stringify(parseJson('{"email": ada@klaviyo-demo.com}'))).not.toContain('ada');
  });
});

describe('parseJson, unlike JSON.parse,', () => {
  it.each([
    ['{"a":{"__proto__":{"x":1}}}', ['a', '__proto__']],
    ['[{"constructor":1}]', [0, 'constructor']],
    ['{"prototype":1}', ['prototype']],
    ['{"\\u005f_proto__":1}', ['__proto__']],
  ])('reports a harmful name in %s', (text, path) => {
    expect(issuesOf(text)).toEqual([{ path, detail: 'is a name that is not allowed' }]);
  });

  it.each(['{"a":[1e999]}', '{"a":[-1e999]}', `{"a":[${'9'.repeat(400)}]}`])(
    'reports a number that overflows in %.20s…',
    (text) => {
      expect(issuesOf(text)).toEqual([{ path: ['a', 0], detail: 'is too large a number' }]);
    },
  );

  it.each([
    ['{"a":"x\\ud83dx"}', ['a']],
    ['{"a":"\\uDC00"}', ['a']],
    ['{"a":"\ud83d"}', ['a']],
    ['{"\\ud83d":1}', ['\ud83d']],
  ])('reports half of a surrogate pair in %j', (text, path) => {
    expect(issuesOf(text)).toEqual([
      { path, detail: 'holds half of a surrogate pair, which is not Unicode text' },
    ]);
  });

  it.each(['{"a":"😀"}', '{"a":"\\ud83d\\ude00"}', '{"😀":"\\\\ud83d"}'])(
    'accepts whole surrogate pairs in %s',
    (text) => expect(issuesOf(text)).toEqual([]),
  );

  it.each([
    ['{"a":1,"a":1}', ['a']],
    ['{"a":1,"\\u0061":2}', ['a']],
    ['{"x":[{"b":{}, "c":":" , "b" : 2}]}', ['x', 0, 'b']],
    ['{"a":{"b":1,"b":2},"a":5}', ['a', 'b'], ['a']],
    ['{"":1,"":2}', ['']],
  ])('reports each repeated name in %s', (text, ...paths) => {
    expect(issuesOf(text)).toEqual(
      paths.map((path) => ({ path, detail: 'is given more than once' })),
    );
  });

  it.each([
    '{"a":{"x":1},"b":{"x":1}}',
    '[{"x":1},{"x":1}]',
    '{"a":"\\"x\\":\\"x\\":","x":1}',
    '{"a":":x","b":"\\\\"}',
    '{"a":[1,{"b":2},[],{}],"b":{},"c":"a,\\"b\\":"}',
  ])('reports no repeated name in %s', (text) => expect(issuesOf(text)).toEqual([]));
});

/** JSON with repeated names, as an ordered list of members; `print` writes it, because an object cannot have repeated names. */
type Tree = string | number | boolean | null | readonly Tree[] | { readonly members: Members };
type Members = readonly (readonly [name: string, value: Tree])[];

const name = fc.constantFrom('a', 'b', '', ':', '"', '":', '\\', 'a:b', '{"a":1}', '1', ' ');
const { tree } = fc.letrec<{ tree: Tree }>((tie) => ({
  tree: fc.oneof(
    { depthSize: 'medium', withCrossShrink: true },
    name,
    fc.integer(),
    fc.constantFrom(true, null, 2 ** 60),
    fc.array(tie('tree'), { maxLength: 3 }),
    fc
      .array(fc.tuple(name, tie('tree')), { maxLength: 4 })
      .map((members: Members) => ({ members })),
  ),
}));

function print(value: Tree, space: string): string {
  if (value === null || typeof value !== 'object') return JSON.stringify(value);
  if (!('members' in value)) {
    return `[${value.map((each) => print(each, space)).join(`,${space}`)}]`;
  }
  const members = value.members.map(
    ([each, member]) => `${JSON.stringify(each)}${space}:${space}${print(member, space)}`,
  );
  return `{${space}${members.join(`${space},${space}`)}}`;
}

function findRepeatedPaths(value: Tree, path: readonly (string | number)[]): unknown[] {
  if (value === null || typeof value !== 'object') return [];
  if (!('members' in value))
    return value.flatMap((each, at) => findRepeatedPaths(each, [...path, at]));
  const names = value.members.map(([each]) => each);
  return value.members.flatMap(([each, member], at) => [
    ...(names.indexOf(each) < at ? [[...path, each]] : []),
    ...findRepeatedPaths(member, [...path, each]),
  ]);
}

it('parseJson reports exactly the repeated names of any text, each with its path', () => {
  fc.assert(
    fc.property(tree, fc.constantFrom('', ' ', '\n\t'), (value, space) => {
      const paths = issuesOf(print(value, space)).map((issue) => issue.path);
      expect(paths).toEqual(findRepeatedPaths(value, []));
    }),
    { numRuns: 500 },
  );
});

describe('nesting in a JSON text', () => {
  const nested = (depth: number) => `${'['.repeat(depth)}${']'.repeat(depth)}`;
  const tooDeep = `is nested deeper than ${maxDepth} levels`;

  it('has no issue at the maximum depth and one issue below it', () => {
    expect(issuesOf(nested(maxDepth))).toEqual([]);
    expect(issuesOf(nested(maxDepth + 1)).map(({ detail }) => detail)).toEqual([tooDeep]);
  });

  it.each([10_000, 2_500_000])('of %i levels exhausts neither stack nor time', (depth) => {
    expect(issuesOf(nested(depth)).map(({ detail }) => detail)).toEqual([tooDeep]);
    const objects = '{"a":'.repeat(depth / 10) + '1' + '}'.repeat(depth / 10);
    expect(issuesOf(objects).map(({ detail }) => detail)).toEqual([tooDeep]);
  });

  it('that is too deep does not hide issues in the rest of the text', () => {
    const text = `[${nested(10_000)},{"a":1,"a":2},12345678901234567890]`;
    expect(issuesOf(text).map(({ path }) => path.at(-1))).toEqual([0, 'a']);
    expect(stringifyJson(valueOf(`[{"a":${nested(70)}},12345678901234567890]`))).toContain(
      ',12345678901234567890]',
    );
  });

  it('does not include brackets inside strings', () => {
    expect(issuesOf(`["${'['.repeat(50_000)}","\\"[[["]`)).toEqual([]);
  });
});

describe('a large integer in a JSON text', () => {
  it.each([
    '9007199254740991',
    '9007199254740992',
    '9007199254740993',
    '-12345678901234567890',
    '1'.repeat(60),
  ])('%s keeps its digits', (digits) => {
    for (const text of [digits, `[${digits}]`, `{"a":[{"b":${digits},"c":"${digits}"}],"d":1}`]) {
      expect(stringifyJson(valueOf(text))).toBe(text);
    }
  });

  it('is an ExactInteger only if a JavaScript number would change it', () => {
    expect(valueOf('[9007199254740993,9007199254740991,1e300]')).toEqual([
      new ExactInteger('9007199254740993'),
      9007199254740991,
      1e300,
    ]);
  });

  it('differs from an object with the same members as an ExactInteger', () => {
    const text = '{"a":{"digits":"1e5","isLosslessNumber":true},"b":12345678901234567890}';
    expect(stringifyJson(valueOf(text))).toBe(text);
  });

  it('keeps its digits at any position', () => {
    const value = fc.jsonValue({ maxDepth: 5 }).map((each) => JSON.stringify(each));
    const digits = fc.bigInt({ min: 2n ** 53n, max: 2n ** 200n }).map(String);
    fc.assert(
      fc.property(value, digits, value, (before, large, after) => {
        const text = `{"a:":[${before},{"b":${large}},${after},"${large}"],"c":-${large}}`;
        const parsed = parseJson(text);
        fc.pre(parsed.ok && parsed.issues.length === 0);
        expect(JSON.parse(stringifyJson(valueOf(text)))).toEqual(JSON.parse(text));
        expect(stringifyJson(valueOf(text))).toContain(`{"b":${large}},`);
        expect(stringifyJson(valueOf(text))).toMatch(new RegExp(`"c":-${large}}$`));
      }),
    );
  });
});

it('parseJson lists a bounded number of issues and then rejects the whole text', () => {
  const issues = issuesOf(`[${'1e999,'.repeat(50_000)}0]`);
  expect(issues).toHaveLength(10_001);
  expect(issues.at(-1)).toEqual({ path: [], detail: 'has more faults than can be listed' });
});

it('parseJson returns for any text, with the value of JSON.parse if there is no issue', () => {
  fc.assert(
    fc.property(fc.oneof(fc.string({ unit: 'binary' }), fc.json()), (text) => {
      const parsed = parseJson(text);
      if (parsed.ok && parsed.issues.length === 0) {
        expect(JSON.parse(stringifyJson(parsed.value))).toEqual(JSON.parse(text));
      }
    }),
    { numRuns: 500 },
  );
});
