import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { toPath } from '../../../src/klaviyo/lanes/lane.js';
import { laneApis, neededScopes } from '../../../src/klaviyo/lanes/list.js';
import { toGroupedPayload, toSubscriptionGroup } from '../../../src/model/group.js';
import { laneTraits } from '../../../src/model/lane.js';

const toBytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const toText = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);

describe('the lanes', () => {
  it('have numbers and prefixes of their own, because these are stored', () => {
    const traits = Object.values(laneTraits);
    expect(new Set(traits.map(({ number }) => number)).size).toBe(traits.length);
    expect(new Set(traits.map(({ idPrefix }) => idPrefix)).size).toBe(traits.length);
    expect(traits.every(({ idPrefix }) => /^[a-z]{2}$/.test(idPrefix))).toBe(true);
  });

  it('keep the numbers and prefixes that earlier versions stored', () => {
    expect(laneTraits).toMatchObject({
      events: { number: 0, idPrefix: 'ev' },
      profiles: { number: 1, idPrefix: 'pr' },
      waiting: { number: 2, idPrefix: 'wa' },
    });
  });
});

describe('a request body', () => {
  it("of events is Klaviyo's wrapper around the unchanged payloads", () => {
    const payloads = ['{"type":"event-bulk-create","n":1}', '{"n":2, "kept":  "as it is"}'];
    expect(toText(laneApis.events.body.join(payloads.map(toBytes)))).toBe(
      `{"data":{"type":"event-bulk-create-job","attributes":{"events-bulk-create":{"data":[${payloads.join(',')}]}}}}`,
    );
  });

  it('of profiles has a wrapper of its own', () => {
    expect(toText(laneApis.profiles.body.join([toBytes('{"n":1}')]))).toBe(
      '{"data":{"type":"profile-bulk-import-job","attributes":{"profiles":{"data":[{"n":1}]}}}}',
    );
  });

  it.each([
    ['suppress', 'profile-suppression-bulk-create-job'],
    ['unsuppress', 'profile-suppression-bulk-delete-job'],
  ] as const)('of %s is a list of profiles in a job of its own', (lane, type) => {
    expect(toText(laneApis[lane].body.join([toBytes('{"n":1}')]))).toBe(
      `{"data":{"type":"${type}","attributes":{"profiles":{"data":[{"n":1}]}}}}`,
    );
  });

  it.each(['events', 'profiles', 'suppress', 'unsuppress'] as const)(
    'of %s without payloads is an empty list',
    (lane) => {
      const body = laneApis[lane].body.join([]);
      expect(body.length).toBe(laneApis[lane].body.overheadBytes);
      expect(toText(body)).toContain('"data":[]');
    },
  );

  it('has exactly the announced size, and contains every payload in order', () => {
    const payload = fc.dictionary(fc.string(), fc.jsonValue({ maxDepth: 2 }));
    fc.assert(
      fc.property(
        fc.constantFrom('events' as const, 'profiles' as const),
        fc.array(payload),
        (lane, values) => {
          const payloads = values.map((value) => toBytes(JSON.stringify(value)));
          const sum = payloads.reduce((bytes, { length }) => bytes + length, 0);
          const body = laneApis[lane].body.join(payloads);
          expect(body.length).toBe(
            laneApis[lane].body.overheadBytes + sum + Math.max(0, payloads.length - 1),
          );
          const list = toText(body).slice(toText(laneApis[lane].body.join([])).indexOf('[') + 1);
          expect(list.startsWith(payloads.map(toText).join(','))).toBe(true);
        },
      ),
    );
  });
});

describe('the body of an exact update', () => {
  const { join, locate, overheadBytes } = laneApis.update_profile.body;

  it('is one profile', () => {
    const body = join([toBytes('{"type":"profile","n":1}')]);
    expect(toText(body)).toBe('{"data":{"type":"profile","n":1}}');
    expect(body.length).toBe(overheadBytes + '{"type":"profile","n":1}'.length);
  });

  it('has no attributes if there is no profile, which Klaviyo rejects', () => {
    expect(toText(join([]))).toBe('{"data":{"type":"profile"}}');
  });

  it('is located by pointers below /data', () => {
    expect(locate('/data/attributes/email')).toEqual({ index: 0, pointer: '/attributes/email' });
    expect(locate('/data/')).toEqual({ index: 0, pointer: '/' });
    expect(locate('/data')).toBeNull();
    expect(locate('/datas/attributes')).toBeNull();
  });
});

describe('the body of an import into a list', () => {
  const { join, locate, overheadBytes } = laneApis.add_to_list.body;
  const element = '{"type":"profile","attributes":{"email":"a@klaviyo-demo.com"}}';
  const payloadOf = (list: string): Uint8Array => toBytes(toGroupedPayload(list, element, 0));

  it('has the elements of the stored payloads and the list that is their group', () => {
    expect(toText(join([payloadOf('Y6nRLr'), payloadOf('Y6nRLr')]))).toBe(
      `{"data":{"type":"profile-bulk-import-job","attributes":{"profiles":{"data":[${element},${element}]}},"relationships":{"lists":{"data":[{"type":"list","id":"Y6nRLr"}]}}}}`,
    );
  });

  it('is never longer than its overhead, its elements and their commas', () => {
    const longest = 'x'.repeat(40);
    expect(join([payloadOf(longest)]).length).toBe(overheadBytes + element.length);
  });

  it('is located like other imports', () => {
    const pointer = '/data/attributes/profiles/data/3/attributes/email';
    expect(locate(pointer)).toEqual({ index: 3, pointer: '/attributes/email' });
  });
});

describe('the request that removes people from a list', () => {
  const api = laneApis.remove_from_list;
  const element = '{"type":"profile","id":"p1"}';

  it('goes to the list that is the group of the stored payloads', () => {
    const payload = toBytes(toGroupedPayload('Y6nRLr', '{}', 0));
    expect([api.method, toPath(api, [payload, payload])]).toEqual([
      'DELETE',
      '/api/lists/Y6nRLr/relationships/profiles',
    ]);
  });

  it('has the ids of the profiles, in exactly the announced size', () => {
    const body = api.body.join([toBytes(element), toBytes(element)]);
    expect(toText(body)).toBe(`{"data":[${element},${element}]}`);
    expect(body.length).toBe(api.body.overheadBytes + 2 * element.length + 1);
  });

  it('is located by pointers below /data, but not by others', () => {
    expect(api.body.locate('/data/3/id')).toEqual({ index: 3, pointer: '/id' });
    expect(api.body.locate('/data/id')).toBeNull();
    expect(api.body.locate('/data/relationships/lists/0')).toBeNull();
  });
});

describe('a lane with a look-up', () => {
  it.each(['erase', 'remove_from_list'] as const)(
    'has only look-ups whose scopes every relay needs, so that the check of the key tries them: %s',
    (lane) => {
      expect(neededScopes).toEqual(expect.arrayContaining([...laneApis[lane].lookUp.scopes]));
    },
  );

  it('shares its other scopes with a lane that can be tried, if its path needs a list', () => {
    const { profiles, remove_from_list: removal } = laneApis;
    expect(removal.scopes).toEqual(profiles.scopes);
  });
});

describe('the body of a subscription job', () => {
  const element = '{"type":"profile","attributes":{}}';
  const join = (group: Parameters<typeof toSubscriptionGroup>[0], count = 1): unknown => {
    const payload = toBytes(toGroupedPayload(toSubscriptionGroup(group), element, 0));
    return JSON.parse(laneApis.subscribe.body.join(Array(count).fill(payload)).toString());
  };
  const type = 'profile-subscription-bulk-create-job';
  const data: readonly unknown[] = [JSON.parse(element)];

  it('has the elements of the stored payloads, and no more for a group without a name', () => {
    expect(join({}, 2)).toEqual({
      data: { type, attributes: { profiles: { data: [...data, ...data] } } },
    });
  });

  it('names the list, the historical import and the source of the group', () => {
    expect(join({ listId: 'Y6nRLr', isHistorical: true, customSource: 'Kasse; "ä"' })).toEqual({
      data: {
        type,
        attributes: {
          profiles: { data },
          historical_import: true,
          custom_source: 'Kasse; "ä"',
        },
        relationships: { list: { data: { type: 'list', id: 'Y6nRLr' } } },
      },
    });
  });

  it('is never longer than its announced size', () => {
    const group = {
      listId: 'x'.repeat(40),
      isHistorical: true,
      customSource: '\u0001'.repeat(255),
    };
    const payload = toBytes(toGroupedPayload(toSubscriptionGroup(group), element, 0));
    const { body } = laneApis.subscribe;
    expect(body.join([payload]).length).toBeLessThanOrEqual(body.overheadBytes + payload.length);
  });

  it('locates the element that an error points at', () => {
    const pointer = '/data/attributes/profiles/data/3/attributes/phone_number';
    expect(laneApis.unsubscribe.body.locate(pointer)).toEqual({
      index: 3,
      pointer: '/attributes/phone_number',
    });
  });
});
