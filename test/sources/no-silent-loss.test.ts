import fc from 'fast-check';
import { expect, it } from 'vitest';
import { isJsonObject } from '../../src/json/json.js';
import { sourceNames } from '../../src/sources/list.js';
import { createPipeline } from './pipeline.js';
import { sampleMapping, samples } from './samples.js';

/** Replaces, removes or repeats a member anywhere in a JSON value. */
type Change = {
  readonly at: number;
  readonly how: 'replace' | 'remove' | 'twice';
  readonly by: unknown;
};

const odd = fc.oneof(
  fc.constantFrom(null, '', ' ', 0, -1, 1e300, true, [], {}, 'none', '12,50 €', '1,299', '$12'),
  fc.jsonValue({ maxDepth: 2, stringUnit: 'binary' }),
);

const change: fc.Arbitrary<Change> = fc.record({
  at: fc.nat(200),
  how: fc.constantFrom('replace', 'remove', 'twice'),
  by: odd,
});

/** The paths of all members of a value. */
function listPaths(value: unknown, path: readonly string[] = []): readonly (readonly string[])[] {
  const members = Array.isArray(value) || isJsonObject(value) ? Object.entries(value) : [];
  return members.flatMap(([name, member]) => [
    [...path, name],
    ...listPaths(member, [...path, name]),
  ]);
}

function apply(value: unknown, { at, how, by }: Change): unknown {
  const copy: unknown = structuredClone(value);
  const paths = listPaths(copy);
  const path = paths[at % Math.max(1, paths.length)];
  if (path === undefined) return copy;
  let holder = copy as Record<string, unknown>;
  for (const name of path.slice(0, -1)) holder = holder[name] as Record<string, unknown>;
  const last = path.at(-1) ?? '';
  if (how === 'remove' && !Array.isArray(holder)) Reflect.deleteProperty(holder, last);
  else if (how === 'twice' && Array.isArray(holder))
    holder.push(structuredClone(holder[Number(last)]));
  else holder[last] = by;
  return copy;
}

it('every source has samples', () => {
  expect(new Set(samples.map(({ source }) => source))).toEqual(new Set(sourceNames));
});

it('a request that is answered with success ends as an event, a profile, a dead letter, a waiting entry or a counted skip, for any values of its fields', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(...samples),
      fc.array(change, { maxLength: 4 }),
      async ({ source, request }, changes) => {
        const body = changes.reduce(apply, request.body);
        const pipeline = createPipeline({}, sampleMapping);
        const accepted = await pipeline.send(source, { ...request, body });
        // The map cannot read the request, so the caller gets a 400.
        if (accepted === null) return;
        expect(accepted.kind).toBe('accepted');
        if (accepted.kind !== 'accepted') return;
        const counted = (outcome: string): number =>
          pipeline
            .activity()
            .filter((each) => each.outcome === outcome)
            .reduce((sum, { count }) => sum + count, 0);
        expect(counted('accepted')).toBe(accepted.accepted);
        expect(counted('dead_lettered')).toBe(accepted.rejected.length);
        expect(counted('waiting')).toBe(accepted.waiting);
        expect(counted('altered')).toBe(accepted.warnings.length);
        const { accepted: sent, waiting, rejected } = accepted;
        expect(pipeline.drafts.length).toBe(sent + waiting + rejected.length);
        const parts = sent + waiting + rejected.length + counted('skipped');
        expect(parts).toBeGreaterThanOrEqual(countParts(source, body));
      },
    ),
    { numRuns: 800 },
  );
});

/** The parts of a request, each of which must have an outcome. */
function countParts(source: string, body: unknown): number {
  if (source !== 'segment') return 1;
  const calls = isJsonObject(body) ? body.batch : undefined;
  // An invalid call is in the response as rejected and never reaches the pipeline.
  const types = ['track', 'identify', 'page', 'screen', 'group', 'alias'];
  const isCall = (call: unknown): boolean =>
    isJsonObject(call) && typeof call.type === 'string' && types.includes(call.type);
  return Array.isArray(calls) ? calls.filter(isCall).length : 0;
}
