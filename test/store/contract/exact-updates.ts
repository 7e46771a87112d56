import fc from 'fast-check';
import { expect, it } from 'vitest';
import { isJsonObject } from '../../../src/json/json.js';
import type { BatchItem, Draft } from '../../../src/model/envelope.js';
import { draftEntry } from '../../../src/ingest/draft.js';
import { createToE164 } from '../../../src/ingest/phone.js';
import { mergeProfiles } from '../../../src/klaviyo/merge-profiles.js';
import { createProfiles } from '../../../src/sandbox/profiles.js';
import { ack, retry, settledAs, startMs, toText } from '../../support/builders.js';
import { newestRules } from '../../support/revisions.js';
import { append, claim, type OpenStore, wideBounds } from './harness.js';

const exactLanes = ['profiles', 'update_profile'] as const;
type ExactLane = (typeof exactLanes)[number];

/** What a post changes. Each field but `add` may be null, which clears it. */
type Post = {
  readonly person: 'a' | 'b';
  readonly hasId: boolean;
  readonly first_name?: string | null;
  readonly city?: string | null;
  readonly plan?: string | null;
  /** A tag to append. */
  readonly add?: string;
};

const value = fc.option(fc.constantFrom('x', 'y', 'z'));
const aPost: fc.Arbitrary<Post> = fc.record(
  {
    person: fc.constantFrom('a', 'b'),
    hasId: fc.boolean(),
    first_name: value,
    city: value,
    plan: value,
    add: fc.constantFrom('vip', 'new'),
  },
  { requiredKeys: ['person', 'hasId'] },
);

const toEmail = (person: string): string => `${person}@klaviyo-demo.com`;

function toDraft({ person, hasId, first_name, city, plan, add }: Post): Draft {
  const entry = {
    email: toEmail(person),
    ...(hasId && { distinct_id: person }),
    ...(first_name !== undefined && { first_name }),
    ...(city !== undefined && { location: { city } }),
    ...(plan !== undefined && { plan }),
    ...(add !== undefined && { append: { tags: add } }),
  };
  const drafted = draftEntry(
    'profiles',
    { value: entry, errors: [] },
    {
      acceptedAt: startMs,
      backfillBefore: -Infinity,
      rules: newestRules,
      newId: () => 'unused',
      toE164: createToE164(undefined),
      nullClears: true,
    },
  );
  if (!drafted.ok) throw new Error(JSON.stringify(drafted.errors));
  return drafted.draft;
}

/** What Klaviyo has of a person when the posts were applied one after the other. */
function applyPosts(posts: readonly Post[]): object {
  const fields = new Map<string, string | null>();
  const tags: string[] = [];
  for (const { first_name, city, plan, add } of posts) {
    for (const [name, posted] of Object.entries({ first_name, city, plan })) {
      if (posted !== undefined) fields.set(name, posted);
    }
    if (add !== undefined) tags.push(add);
  }
  return { ...toFields((name) => fields.get(name)), tags };
}

const toFields = (get: (name: string) => unknown) => ({
  first_name: get('first_name') ?? null,
  city: get('city') ?? null,
  plan: get('plan') ?? null,
});

/** Klaviyo, as the sandbox has it. A bulk import ignores a null; an exact update clears with it. */
class Klaviyo {
  readonly #profiles = createProfiles();

  apply(lane: ExactLane, item: BatchItem): void {
    const payloads = item.map(({ payload }) => payload);
    const [first] = payloads;
    const sent = lane === 'profiles' ? mergeProfiles(payloads) : first;
    const element: unknown = JSON.parse(Buffer.from(sent ?? []).toString());
    const { attributes, meta } = isJsonObject(element) ? element : {};
    const patch = isJsonObject(meta) ? meta.patch_properties : undefined;
    const input = {
      id: null,
      attributes: isJsonObject(attributes) ? attributes : {},
      patch: isJsonObject(patch) ? patch : undefined,
    };
    this.#profiles.upsert(input, { at: startMs, nullClears: lane === 'update_profile' });
  }

  read(person: string): object {
    const [found] = this.#profiles.find(null, { email: toEmail(person) });
    const { first_name, location, properties } = found?.attributes ?? {};
    const { city } = isJsonObject(location) ? location : {};
    const { plan, tags = [] } = isJsonObject(properties) ? properties : {};
    const all = new Map<string, unknown>(Object.entries({ first_name, city, plan }));
    return { ...toFields((name) => all.get(name)), tags };
  }
}

/** `lost`: Klaviyo recorded it, and the response was lost. */
type Fate = 'acked' | 'failed' | 'lost';

const aStep = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      kind: fc.constant('append' as const),
      posts: fc.array(aPost, { minLength: 1, maxLength: 4 }),
    }),
  },
  {
    weight: 5,
    arbitrary: fc.record({
      kind: fc.constant('claim' as const),
      lane: fc.constantFrom(...exactLanes),
      maxCount: fc.integer({ min: 1, max: 3 }),
    }),
  },
  {
    weight: 5,
    arbitrary: fc.record({
      kind: fc.constant('settle' as const),
      nth: fc.nat(4),
      fate: fc.constantFrom<Fate>('acked', 'acked', 'failed', 'lost'),
    }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('advance' as const), ms: fc.nat(10) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('crash' as const) }) },
);

/** Holds the order of bulk imports and exact updates over random interleavings. */
export function describeExactUpdates(openStore: OpenStore, numRuns: number): void {
  it('leaves each profile at Klaviyo as if its posts were applied in the order of acceptance', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(aStep, { maxLength: 40, size: 'max' }), async (steps) => {
        const under = await openStore(wideBounds);
        const klaviyo = new Klaviyo();
        const accepted: Post[] = [];
        let inFlight: { lane: ExactLane; items: readonly BatchItem[] }[] = [];
        let unsettled = 0;

        const claimFrom = async (lane: ExactLane, maxCount: number): Promise<void> => {
          const items = await claim(under.store, { maxCount }, lane);
          if (items.length > 0) inFlight.push({ lane, items });
        };
        const settle = async (
          { lane, items }: { lane: ExactLane; items: readonly BatchItem[] },
          fate: Fate,
        ): Promise<void> => {
          for (const item of items) {
            // Klaviyo has a value twice that is appended twice, so such a response is not lost here.
            const appends = item.some((envelope) => toText(envelope).includes('"append"'));
            if (fate === 'acked' || (fate === 'lost' && !appends)) klaviyo.apply(lane, item);
          }
          if (fate === 'acked') unsettled -= items.flat().length;
          const verdict = fate === 'acked' ? ack : retry(5);
          await under.store.settle({ lane, settled: settledAs(items, verdict) });
        };

        for (const step of steps) {
          switch (step.kind) {
            case 'append':
              await append(under.store, step.posts.map(toDraft));
              accepted.push(...step.posts);
              unsettled += step.posts.length;
              break;
            case 'claim':
              await claimFrom(step.lane, step.maxCount);
              break;
            case 'settle': {
              const [settled] = inFlight.splice(step.nth, 1);
              if (settled !== undefined) await settle(settled, step.fate);
              break;
            }
            case 'advance':
              await under.clock.advance(step.ms);
              break;
            case 'crash':
              if (under.crash !== undefined) {
                await under.crash();
                inFlight = [];
              }
          }
        }
        for (const each of inFlight.splice(0)) await settle(each, 'acked');
        await under.clock.advance(10);
        for (let rounds = 0; unsettled > 0 && rounds < 1000; rounds++) {
          for (const lane of exactLanes) await claimFrom(lane, 1000);
          for (const each of inFlight.splice(0)) await settle(each, 'acked');
        }
        expect(unsettled).toBe(0);
        for (const name of ['a', 'b'] as const) {
          const posts = accepted.filter(({ person }) => person === name);
          expect(klaviyo.read(name)).toEqual(applyPosts(posts));
        }
        await under.close();
      }),
      { numRuns },
    );
  });
}
