import { afterEach, describe, expect, it } from 'vitest';
import type { Outcome } from '../../src/model/outcome.js';
import { toGroupedPayload } from '../../src/model/group.js';
import {
  aClient,
  respondJson,
  startKlaviyoServer,
  type JsonResponse,
  type KlaviyoServer,
} from './klaviyo-server.js';

type Identifiers = { email?: string | null; phone_number?: string; external_id?: string | null };
type Reply = JsonResponse | 'no content';

const email = 'ada@klaviyo-demo.com';

let close: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const each of close.reverse()) await each();
  close = [];
});

/**
 * Starts a client of a server that has the profiles `known` by their ids, and finds those that a filter has
 * a value of.
 */
async function start({
  known = {},
  lookUp,
  removal = 'no content',
}: {
  readonly known?: Readonly<Record<string, Identifiers>>;
  /** The response to a look-up, in place of the profiles. */
  readonly lookUp?: (filter: string) => Reply | undefined;
  readonly removal?: Reply;
}) {
  const server: KlaviyoServer = await startKlaviyoServer((response, { method, path }) => {
    const filter = new URL(path, 'http://localhost').searchParams.get('filter') ?? '';
    const found = Object.entries(known).filter(([, attributes]) =>
      Object.entries(attributes).some(
        ([name, value]) =>
          filter.startsWith(`any(${name},`) && filter.includes(JSON.stringify(value)),
      ),
    );
    const data = found.map(([id, attributes]) => ({ type: 'profile', id, attributes }));
    const reply = method === 'DELETE' ? removal : (lookUp?.(filter) ?? { body: { data } });
    if (reply === 'no content') response.writeHead(204).end();
    else respondJson(response, reply);
  });
  const { client } = aClient(server.url);
  close.push(server.close, client.close);
  const remove = (...people: readonly Identifiers[]) => {
    const payloads = people.map((attributes) =>
      Buffer.from(toGroupedPayload('ListA', JSON.stringify({ type: 'profile', attributes }), 0)),
    );
    return client.send('remove_from_list', payloads);
  };
  const filters = () =>
    server.requests.flatMap(({ path }) => {
      return new URL(path, 'http://localhost').searchParams.get('filter') ?? [];
    });
  const removals = (): readonly (readonly string[])[] =>
    server.requests
      .filter(({ method }) => method === 'DELETE')
      .map(({ body }) => {
        const { data } = JSON.parse(body.toString()) as { data: { type: string; id: string }[] };
        expect(data.every(({ type }) => type === 'profile')).toBe(true);
        return data.map(({ id }) => id);
      });
  return { server, client, remove, filters, removals };
}

const kindsOf = ({ outcomes }: { outcomes: readonly Outcome[] }) =>
  outcomes.map(({ kind }) => kind);

const errors = (pointer: string) => ({ errors: [{ detail: 'Not valid.', source: { pointer } }] });

describe('a removal from a list', () => {
  it('looks up the profiles by each kind of identifier, and removes them in one request', async () => {
    const { server, remove, filters, removals } = await start({
      known: { p1: { email }, p2: { external_id: 'c"\\1' }, p3: { phone_number: '+15005550006' } },
    });
    const sent = await remove(
      { email },
      { external_id: 'c"\\1' },
      { phone_number: '+15005550006' },
      { email: 'Nobody@klaviyo-demo.com' },
    );
    expect(sent).toMatchObject({ status: 204, bytes: server.requests.at(-1)?.body.length });
    expect(kindsOf(sent)).toEqual(['delivered', 'delivered', 'delivered', 'delivered']);
    expect(filters()).toEqual([
      `any(email,["${email}","Nobody@klaviyo-demo.com","nobody@klaviyo-demo.com"])`,
      'any(phone_number,["+15005550006"])',
      String.raw`any(external_id,["c\"\\1"])`,
    ]);
    expect(removals()).toEqual([['p1', 'p2', 'p3']]);
    expect(server.requests.at(-1)?.path).toBe('/api/lists/ListA/relationships/profiles');
    for (const { headers } of server.requests) expect(headers.revision).toBe('2024-10-15');
  });

  it('of a person that Klaviyo does not have is delivered without a request for it', async () => {
    const { server, remove } = await start({});
    expect(kindsOf(await remove({ email }))).toEqual(['delivered']);
    expect(server.requests.map(({ method }) => method)).toEqual(['GET']);
  });

  it.each<[string, Identifiers, Identifiers, boolean]>([
    ['the same address in other case', { email: email.toUpperCase() }, { email }, true],
    ['no external id', { email, external_id: 'c1' }, { email, external_id: null }, true],
    ['another external id', { email, external_id: 'c1' }, { email, external_id: 'c2' }, false],
    [
      'an external id in other case',
      { email, external_id: 'c1' },
      { email, external_id: 'C1' },
      false,
    ],
    [
      'another address',
      { email, external_id: 'c1' },
      { email: 'x@y.co', external_id: 'c1' },
      false,
    ],
    ['more identifiers', { email }, { email, external_id: 'c1' }, true],
  ])('meets a profile with %s', async (_name, person, attributes, isRemoved) => {
    const { remove, removals } = await start({ known: { p1: attributes } });
    expect(kindsOf(await remove(person))).toEqual(['delivered']);
    expect(removals()).toEqual(isRemoved ? [['p1']] : []);
  });

  it('removes a profile once that two people of a batch are, and two that one person is', async () => {
    const { remove, removals } = await start({
      known: { p1: { email, phone_number: '+15005550006' }, p2: { external_id: 'c1' } },
    });
    await remove({ email, external_id: 'c1' }, { phone_number: '+15005550006' });
    expect(removals()).toEqual([['p1', 'p2']]);
  });

  it('makes several look-ups if the values are too many or too long for one', async () => {
    const { server, remove, filters } = await start({});
    const people = Array.from({ length: 101 }, (_, index) => ({ external_id: `c${index}` }));
    await remove(...people);
    expect(filters().map((filter) => filter.split(',').length - 1)).toEqual([100, 1]);
    const before = server.requests.length;
    const long = Array.from({ length: 30 }, (_, index) => `${index}${'é'.repeat(200)}`);
    await remove(...long.map((external_id) => ({ external_id })));
    const paths = server.requests.slice(before).map(({ path }) => path);
    expect(paths.length).toBeGreaterThan(5);
    expect(Math.max(...paths.map(({ length }) => length))).toBeLessThanOrEqual(6000);
    const values = filters()
      .slice(2)
      .flatMap((filter) => JSON.parse(/\[.*\]/.exec(filter)?.[0] ?? '') as string[]);
    expect(values).toEqual(long);
  });
});

describe('a look-up that fails', () => {
  const people = [{ email }, { email: 'bo@klaviyo-demo.com' }] as const;

  it.each<[string, Reply, string]>([
    ['429', { status: 429, body: errors(''), headers: { 'retry-after': '7' } }, 'throttled'],
    ['403', { status: 403, body: errors('') }, 'blocked'],
    ['404', { status: 404, body: errors('') }, 'blocked'],
    ['400', { status: 400, body: errors('') }, 'unattributed'],
    ['503', { status: 503, body: {} }, 'retryable'],
    ['204', 'no content', 'retryable'],
    ['a list of something else', { body: { data: [{ type: 'list', id: 'l' }] } }, 'retryable'],
    ['a profile without an id', { body: { data: [{ type: 'profile' }] } }, 'retryable'],
  ])('with %s sends no removal, and all have its outcome', async (_name, reply, kind) => {
    const { server, remove } = await start({ lookUp: () => reply });
    const sent = await remove(...people);
    expect(kindsOf(sent)).toEqual([kind, kind]);
    expect(sent).toMatchObject({ bytes: 0, feedback: null });
    expect(server.requests.map(({ method }) => method)).toEqual(['GET']);
  });

  it('with 400 rejects the identifier that is alone', async () => {
    const { remove } = await start({ lookUp: () => ({ status: 400, body: errors('') }) });
    expect(kindsOf(await remove({ email }))).toEqual(['rejected']);
  });

  it('after others of the same removal sends nothing either', async () => {
    const { remove, removals } = await start({
      known: { p1: { email } },
      lookUp: (filter) => (filter.includes('external_id') ? { status: 503, body: {} } : undefined),
    });
    expect(kindsOf(await remove({ email, external_id: 'c1' }))).toEqual(['retryable']);
    expect(removals()).toEqual([]);
  });
});

describe('a removal of which some people have no profile', () => {
  const known = { p1: { email } };
  const nobody = { email: 'nobody@klaviyo-demo.com' };

  it.each<[string, Reply, readonly string[]]>([
    ['takes the outcome of a 429', { status: 429, body: {} }, ['throttled', 'throttled']],
    ['takes the outcome of a 503', { status: 503, body: {} }, ['retryable', 'retryable']],
    ['takes the outcome of a 403', { status: 403, body: errors('') }, ['blocked', 'blocked']],
    [
      'delivers them if another is rejected',
      { status: 400, body: errors('') },
      ['delivered', 'rejected'],
    ],
    [
      'delivers them if the list is wrong',
      { status: 404, body: errors('') },
      ['delivered', 'rejected'],
    ],
    ['retries if a 200 of a proxy responds', { status: 200, body: {} }, ['retryable', 'retryable']],
  ])('%s', async (_name, removal, kinds) => {
    const { remove } = await start({ known, removal });
    expect(kindsOf(await remove(nobody, { email }))).toEqual(kinds);
  });

  it('rejects the one whose profile Klaviyo names, and sends the others again', async () => {
    const bo = { email: 'bo@klaviyo-demo.com' };
    const { remove } = await start({
      known: { ...known, p2: bo },
      removal: { status: 400, body: errors('/data/1/id') },
    });
    expect(kindsOf(await remove(nobody, { email }, bo))).toEqual([
      'delivered',
      'unattributed',
      'rejected',
    ]);
  });

  it('is cut off if another relay may own the envelopes', async () => {
    const { client, removals } = await start({ known });
    const element = JSON.stringify({ type: 'profile', attributes: { email } });
    const payload = Buffer.from(toGroupedPayload('ListA', element, 0));
    const sent = await client.send('remove_from_list', [payload], () => false);
    expect(sent.outcomes).toMatchObject([{ kind: 'retryable', reason: { code: 'lease' } }]);
    expect(removals()).toEqual([]);
  });
});
