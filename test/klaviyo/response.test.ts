import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { lanes } from '../../src/model/lane.js';
import type { Outcome } from '../../src/model/outcome.js';
import {
  type KlaviyoResponse,
  rowNames,
  toFailureOutcome,
  toOutcomes,
} from '../../src/klaviyo/response.js';

const now = Date.UTC(2026, 10, 1, 12);
const json = { 'content-type': 'application/vnd.api+json' };
const html = { 'content-type': 'text/html; charset=UTF-8' };
const page = '<html>\n<head><title>Just a moment...</title></head>\n<body></body>\n</html>';

type Given = Partial<KlaviyoResponse> & { readonly body?: unknown };

const anAnswer = ({ body, ...given }: Given): KlaviyoResponse => ({
  lane: 'events',
  count: 3,
  status: 400,
  headers: json,
  bodyText: body === undefined ? '' : JSON.stringify(body),
  isWhole: true,
  now,
  ...given,
});
const outcomesOf = (given: Given): readonly Outcome[] => toOutcomes(anAnswer(given));

/** The outcome that all entries share. */
function outcomeOf(given: Given): Outcome {
  const outcomes = outcomesOf(given);
  const [first] = outcomes;
  if (first === undefined) throw new Error('no outcome');
  for (const outcome of outcomes) expect(outcome).toEqual(first);
  expect(outcomes).toHaveLength(anAnswer(given).count);
  return first;
}

/** The kind of an outcome and the code of its reason, in one short text. */
function toBrief(outcome: Outcome): string {
  if (outcome.kind === 'delivered') return 'delivered';
  if (outcome.kind === 'pending') return `pending ${outcome.ref}`;
  if (outcome.kind === 'unattributed')
    return `unattributed ${outcome.method} ${outcome.reason.code}`;
  return `${outcome.kind} ${outcome.reason.code}`;
}

const errors = (...list: readonly { detail?: string; pointer?: string }[]) => ({
  errors: list.map(({ detail = 'Invalid input', pointer = '/data' }) => ({
    id: 'e1',
    status: 400,
    code: 'invalid',
    title: 'Invalid input.',
    detail,
    source: { pointer },
  })),
});
const events = '/data/attributes/events-bulk-create/data';
const profiles = '/data/attributes/profiles/data';
/** The document of a profile. */
const aResource = { data: { type: 'profile', id: 'p-1', attributes: {} } };
const job = { data: { type: 'profile-bulk-import-job', id: 'job-1', attributes: {} } };
const suppressionJob = {
  data: { type: 'profile-suppression-bulk-create-job', id: 'job-2', attributes: {} },
};

describe('the table of responses, for a request with three entries', () => {
  const revision = (detail: string) => errors({ detail, pointer: '/data/' });

  it.each<[string, Given, string]>([
    ['202 for profiles, with a job', { status: 202, lane: 'profiles', body: job }, 'pending job-1'],
    [
      '202 for suppressions, with a job',
      { status: 202, lane: 'suppress', body: suppressionJob },
      'pending job-2',
    ],
    [
      '202 for suppressions, with the job of another lane',
      { status: 202, lane: 'suppress', body: job },
      'retryable no_job',
    ],
    ['202 for suppressions, without a job', { status: 202, lane: 'suppress' }, 'retryable no_job'],
    ['200 with an HTML page', { status: 200, headers: html, bodyText: page }, 'retryable edge'],
    [
      '200 with a page that calls itself nothing',
      { status: 200, headers: {}, bodyText: `\n${page}` },
      'retryable edge',
    ],
    ['429', { status: 429, body: errors({}) }, 'throttled throttled'],
    [
      '429 with an HTML page',
      { status: 429, headers: html, bodyText: page },
      'throttled throttled',
    ],
    ...[500, 501, 502, 503, 504, 520, 521, 522, 524, 527, 530, 408, 421, 425].map(
      (status): [string, Given, string] => [
        String(status),
        { status, headers: html, bodyText: page },
        'retryable unavailable',
      ],
    ),
    [
      '500 that blames an entry',
      { status: 500, body: errors({ pointer: `${events}/0` }) },
      'retryable unavailable',
    ],
    ['413', { status: 413, body: errors({}) }, 'unattributed size too_large'],
    [
      '413 with a page',
      { status: 413, headers: html, bodyText: page },
      'unattributed size too_large',
    ],
    ['413, alone', { status: 413, count: 1 }, 'rejected too_large'],
    ['401', { status: 401, body: errors({}) }, 'blocked auth'],
    ['401 with an HTML page', { status: 401, headers: html, bodyText: page }, 'blocked auth'],
    ['402', { status: 402, body: errors({}) }, 'blocked auth'],
    ['407 from a proxy', { status: 407, headers: html, bodyText: page }, 'blocked auth'],
    ['400 with an HTML page', { status: 400, headers: html, bodyText: page }, 'retryable edge'],
    ['403 with an HTML page', { status: 403, headers: html, bodyText: page }, 'retryable edge'],
    [
      '400 with plain text',
      { headers: { 'content-type': 'text/plain' }, bodyText: 'no' },
      'retryable edge',
    ],
    ['400 with an empty body', { headers: {} }, 'retryable edge'],
    ['400, alone, with an empty body', { count: 1 }, 'retryable edge'],
    ['403 with JSON that is not an object', { status: 403, bodyText: '"no"' }, 'retryable edge'],
    ['409 with an HTML page', { status: 409, headers: html, bodyText: page }, 'retryable edge'],
    ['an HTML page with a JSON content type', { bodyText: page }, 'retryable edge'],
    ['403', { status: 403, body: errors({}) }, 'blocked scope'],
    ['403 of another form', { status: 403, body: { message: 'Forbidden' } }, 'blocked scope'],
    [
      '404 for a future revision',
      { status: 404, body: revision('Unable to specify a future revision date') },
      'blocked revision',
    ],
    [
      '404 for a missing endpoint',
      { status: 404, body: revision('No valid revisions found for method') },
      'blocked revision',
    ],
    [
      '400 for a malformed revision',
      { body: revision("The revision 'x' must have the format YYYY-MM-DD.") },
      'blocked revision',
    ],
    ['404 without a reason', { status: 404, body: errors({}) }, 'blocked endpoint'],
    ['404 with an HTML page', { status: 404, headers: html, bodyText: page }, 'blocked endpoint'],
    ['405', { status: 405, body: errors({}) }, 'blocked endpoint'],
    ['406', { status: 406 }, 'blocked endpoint'],
    [
      '410 of a retired API',
      { status: 410, body: { message: 'This API has been retired' } },
      'blocked endpoint',
    ],
    ['415', { status: 415, body: errors({}) }, 'blocked endpoint'],
    ['301', { status: 301, headers: html, bodyText: page }, 'blocked endpoint'],
    ['300', { status: 300, body: errors({}) }, 'blocked endpoint'],
    ['308 without a body', { status: 308, headers: {} }, 'blocked endpoint'],
    [
      '400 for a list',
      { lane: 'profiles', body: errors({ pointer: '/data/relationships/lists/data/0/id' }) },
      'blocked list',
    ],
    [
      '400 without a pointer',
      { body: errors({ pointer: '/data' }) },
      'unattributed bisect rejected',
    ],
    [
      '400 with a pointer to the list of entries',
      { body: errors({ pointer: events }) },
      'unattributed bisect rejected',
    ],
    [
      '400 with a pointer beyond the last entry',
      { body: errors({ pointer: `${events}/3/attributes` }) },
      'unattributed bisect rejected',
    ],
    [
      "400 with a pointer to the other lane's list",
      { body: errors({ pointer: `${profiles}/0/attributes` }) },
      'unattributed bisect rejected',
    ],
    [
      '400 with a parameter',
      { body: { errors: [{ source: { parameter: 'include' } }] } },
      'unattributed bisect rejected',
    ],
    ['400 with an empty list of errors', { body: { errors: [] } }, 'unattributed bisect rejected'],
    [
      '400 with half a body',
      { bodyText: '{"errors":[{"detail":"Inva' },
      'unattributed bisect rejected',
    ],
    [
      '422 with a text about the revision',
      { status: 422, body: revision('Unable to specify a future revision date') },
      'unattributed bisect rejected',
    ],
    [
      '400 with JSON that calls itself HTML',
      { headers: html, body: errors({ pointer: `${events}/0` }) },
      'retryable edge',
    ],
    [
      '410 after which the relay uses another revision',
      { status: 410, body: errors({}), movedTo: '2027-01-15' },
      'retryable revision_moved',
    ],
    ['400 with an array', { body: [1, 2] }, 'unattributed bisect rejected'],
    [
      '409',
      { status: 409, body: errors({ pointer: '/data/attributes' }) },
      'unattributed bisect rejected',
    ],
    ['422', { status: 422, body: errors({}) }, 'unattributed bisect rejected'],
    ['400, alone, without a pointer', { count: 1, body: errors({}) }, 'rejected rejected'],
    [
      '400, alone, with a pointer beyond it',
      { count: 1, body: errors({ pointer: `${events}/5` }) },
      'rejected rejected',
    ],
    ['409, alone', { count: 1, status: 409, body: errors({}) }, 'rejected rejected'],
    [
      '400 for a unique_id that is there twice, with a pointer',
      {
        body: errors({
          detail: "The unique_id 'a' is used more than once for the same profile and metric.",
          pointer: `${events}/1/attributes/events/data/0/attributes/unique_id`,
        }),
      },
      'unattributed bisect rejected',
    ],
  ])('%s', (_name, given, expected) => {
    expect(toBrief(outcomeOf(given))).toBe(expected);
  });

  describe('delivers events only after a 202 of Klaviyo:', () => {
    it.each<[string, Given]>([
      ['without a body', { headers: {} }],
      ['without a body, whatever type it would have', { headers: html }],
      ['with a document', { body: { data: { type: 'event-bulk-create-job', id: 'j' } } }],
      ['with the document of an import job', { body: job }],
      ['under another revision', { movedTo: '2027-01-15' }],
      ['with a document of several resources', { body: { data: [{ type: 'event', id: 'e' }] } }],
      ['with a document of links alone', { body: { links: { self: 'https://a.klaviyo.com' } } }],
    ])('%s', (_name, given) => {
      expect(toBrief(outcomeOf({ status: 202, ...given }))).toBe('delivered');
    });
  });

  describe('retries after a success that is not Klaviyo’s:', () => {
    const foreign: [string, Given][] = [
      ['plain text', { headers: { 'content-type': 'text/plain' }, bodyText: 'OK' }],
      ['an HTML page', { headers: html, bodyText: page }],
      ['an HTML page with a JSON content type', { bodyText: page }],
      ['errors', { body: errors({ detail: 'temporarily unavailable' }) }],
      ['errors beside data', { body: { ...job, errors: [] } }],
      ['a body of a proxy', { body: { message: 'queued for inspection' } }],
      ['a body of a proxy with data', { body: { data: { id: 'r-1', ok: true } } }],
      ['data that is text', { body: { data: 'queued' } }],
      ['data that is null', { body: { data: null } }],
      ['data that lists no resources', { body: { data: [1] } }],
      ['an empty object', { body: {} }],
      ['an array', { body: [] }],
      ['a boolean', { body: true }],
      ['half a document', { bodyText: '{"data":{"type":"profile-bulk-import-job","id":"jo' }],
      ['a space', { bodyText: ' ' }],
      ['a body longer than the limit', { body: job, isWhole: false }],
      ['a body that cannot be decoded', { isWhole: false }],
    ];

    it.each(foreign)('202 with %s', (_name, given) => {
      expect(toBrief(outcomeOf({ status: 202, ...given }))).toBe('retryable edge');
      expect(toBrief(outcomeOf({ status: 202, lane: 'profiles', ...given }))).toBe(
        'retryable edge',
      );
    });

    const nothing = {};
    it.each([200, 201, 203, 204, 205, 206, 207, 226, 299])('%i, whatever its body is', (status) => {
      for (const [, given] of [
        ['nothing', nothing] as const,
        ['a job', { body: job }] as const,
        ...foreign,
      ]) {
        for (const lane of lanes) {
          if (status === 204 && lane === 'remove_from_list' && given === nothing) continue;
          expect(toBrief(outcomeOf({ status, lane, ...given }))).toBe('retryable edge');
        }
      }
    });

    it.each<[string, Given]>([
      ['a profile without an id', { body: { data: { type: 'profile', id: '' } } }],
      ['a list of profiles', { body: { data: [{ type: 'profile', id: 'p-1' }] } }],
      ['another resource', { body: { data: { type: 'event', id: 'p-1' } } }],
      ['a profile and errors', { body: { ...aResource, errors: [] } }],
      ['a profile in a body that was cut off', { body: aResource, isWhole: false }],
    ])('200 for an exact update with %s', (_name, given) => {
      const response = { status: 200, lane: 'update_profile', count: 1, ...given } as const;
      expect(toBrief(outcomeOf(response))).toBe('retryable edge');
    });

    it('202 and 204 for an exact update', () => {
      for (const given of [{ status: 202, body: aResource }, { status: 204 }]) {
        const response = { lane: 'update_profile', count: 1, ...given } as const;
        expect(toBrief(outcomeOf(response))).toBe('retryable edge');
      }
    });

    it('202 for profiles that names no import job', () => {
      const type = 'profile-bulk-import-job';
      const jobless = [
        {},
        { body: { data: { type, attributes: {} } } },
        { body: { data: { type, id: '' } } },
        { body: { data: { type, id: ' ' } } },
        { body: { data: { type, id: 7 } } },
        { body: { data: { type, id: null } } },
        { body: { data: { type: 'profile', id: 'p-1' } } },
        { body: { data: [job.data] } },
      ];
      for (const given of jobless) {
        expect(toBrief(outcomeOf({ status: 202, lane: 'profiles', ...given }))).toBe(
          'retryable no_job',
        );
      }
    });
  });

  it('has the rows that docs/reference/klaviyo-responses.md lists', () => {
    const text = readFileSync(
      new URL('../../docs/reference/klaviyo-responses.md', import.meta.url),
      'utf8',
    );
    const [, table = ''] = text.split('## Responses to a bulk request');
    const [rows = ''] = table.split('\n## ');
    const named = [...rows.matchAll(/^\| `(\w+)` \|/gm)].map(([, name]) => name);
    expect(named).toEqual(rowNames);
  });
});

describe('a response to an exact update', () => {
  const outcome = (given: Given): Outcome =>
    outcomeOf({ lane: 'update_profile', count: 1, ...given });

  it.each([200, 201])('%i with the profile is a success', (status) => {
    expect(outcome({ status, body: aResource })).toEqual({ kind: 'delivered' });
  });

  it('that names another profile with its identifiers is a rejection that says so', () => {
    const [error] = errors({
      detail: 'A profile already exists with one of these identifiers.',
      pointer: '/data/attributes',
    }).errors;
    const body = { errors: [{ ...error, meta: { duplicate_profile_id: '01M1PAAR5H' } }] };
    expect(outcome({ status: 409, body })).toMatchObject({
      kind: 'rejected',
      reason: {
        code: 'duplicate',
        detail:
          'A profile already exists with one of these identifiers. It is the profile 01M1PAAR5H: merge the profiles in Klaviyo, or post one identifier alone.',
      },
    });
  });

  it('that names a field is a rejection with a pointer into the profile', () => {
    const body = errors({ detail: 'Invalid email address', pointer: '/data/attributes/email' });
    expect(outcome({ body })).toMatchObject({
      kind: 'rejected',
      reason: { faults: [{ pointer: '/attributes/email', detail: 'Invalid email address' }] },
    });
  });
});

describe('the requested wait', () => {
  const afterMs = (given: Given): number | undefined => {
    const outcome = outcomeOf(given);
    return 'afterMs' in outcome ? outcome.afterMs : undefined;
  };
  const reported = (seconds: number) =>
    errors({ detail: `Request was throttled. Expected available in ${seconds} second.` });

  it.each<[string, Given, number | undefined]>([
    ['429 with Retry-After', { status: 429, headers: { ...json, 'retry-after': '7' } }, 7000],
    ['429 with Retry-After 0', { status: 429, headers: { ...json, 'retry-after': '0' } }, 1000],
    ['429 with the wait only in its text', { status: 429, body: reported(12) }, 12_000],
    ['429 with 0 seconds in its text', { status: 429, body: reported(0) }, 1000],
    [
      '429 whose header and words differ',
      { status: 429, headers: { 'retry-after': '3' }, body: reported(9) },
      3000,
    ],
    ['429 without a wait', { status: 429 }, 1000],
    ['429 with a week in its text', { status: 429, body: reported(604_800) }, 3_600_000],
    ['503 with Retry-After', { status: 503, headers: { 'retry-after': '30' } }, 30_000],
    ['503 without', { status: 503 }, undefined],
    [
      '403 with a page and Retry-After',
      { status: 403, headers: { ...html, 'retry-after': '2' }, bodyText: page },
      2000,
    ],
  ])('is correct after %s', (_name, given, expected) => {
    expect(afterMs(given)).toBe(expected);
  });
});

describe('a response under a retired revision', () => {
  it('makes the relay send again at once, under the next revision', () => {
    const movedTo = '2027-01-15';
    expect(outcomeOf({ status: 410, body: errors({}), movedTo })).toEqual({
      kind: 'retryable',
      afterMs: 0,
      reason: {
        code: 'revision_moved',
        detail: 'Klaviyo does not serve the revision any more; sent again under 2027-01-15',
        status: 410,
      },
    });
  });
});

describe('the content of a record', () => {
  const mayBeContent = (outcome: Outcome): boolean =>
    'mayBeContent' in outcome && (outcome.mayBeContent ?? false);
  const late = { 'retry-after': '5' };

  it.each<[string, Given]>([
    ['500', { status: 500 }],
    ['502 with a page', { status: 502, headers: html, bodyText: page }],
    ['408', { status: 408 }],
    ['408 with Retry-After', { status: 408, headers: late }],
    ['403 with a page and Retry-After', { status: 403, headers: late, bodyText: page }],
    ['404 with a page', { status: 404, headers: html, bodyText: page }],
  ])('may have caused a %s', (_name, given) => {
    expect(mayBeContent(outcomeOf(given))).toBe(true);
  });

  it.each<[string, Given]>([
    ['500 with Retry-After', { status: 500, headers: late }],
    ['503 with Retry-After', { status: 503, headers: late }],
    ...[421, 425, 529].map((status): [string, Given] => [String(status), { status }]),
    ['404 of Klaviyo', { status: 404, body: errors({}) }],
    ['401', { status: 401 }],
  ])('cannot have caused a %s', (_name, given) => {
    expect(mayBeContent(outcomeOf(given))).toBe(false);
  });

  it.each(['timeout', 'reset', 'protocol', 'network'] as const)(
    'may have caused a request without a response with the code %s',
    (code) => {
      expect(toFailureOutcome({ ok: false, status: null, code, detail: 'broken' })).toEqual({
        kind: 'retryable',
        reason: { code, detail: 'broken' },
        mayBeContent: true,
      });
    },
  );

  it('cannot have caused a failure before Klaviyo was reached', () => {
    expect(
      toFailureOutcome({ ok: false, status: null, code: 'dns', detail: 'no such host' }),
    ).toEqual({
      kind: 'retryable',
      reason: { code: 'dns', detail: 'no such host' },
    });
  });
});

describe('the response to a removal from a list', () => {
  const removal = { lane: 'remove_from_list', count: 2 } as const;
  const noList = { body: { errors: [{ detail: 'A list with id Gone does not exist.' }] } };

  it('is a success if it is a 204 without a body, and not if it is a 202', () => {
    const briefOf = (given: Given) => toBrief(outcomeOf({ ...removal, ...given }));
    expect(briefOf({ status: 204, headers: {} })).toBe('delivered');
    expect(briefOf({ status: 204, isWhole: false })).toBe('retryable edge');
    expect(briefOf({ status: 204, body: { data: [] } })).toBe('retryable edge');
    expect(briefOf({ status: 202 })).toBe('retryable edge');
  });

  it('is about the list if it is Klaviyo’s 404, and about the endpoint if it is another one', () => {
    const briefOf = (given: Given) => toBrief(outcomeOf({ ...removal, status: 404, ...given }));
    expect(briefOf(noList)).toBe('rejected rejected');
    expect(briefOf({ body: { message: 'no Route matched' } })).toBe('blocked endpoint');
    expect(briefOf({ body: { errors: [] } })).toBe('blocked endpoint');
    expect(briefOf({ headers: html, bodyText: page })).toBe('blocked endpoint');
    expect(briefOf({})).toBe('blocked endpoint');
    expect(briefOf({ ...noList, lane: 'add_to_list' })).toBe('blocked endpoint');
  });

  it('is about one profile if Klaviyo names it', () => {
    const named = outcomesOf({
      ...removal,
      status: 404,
      body: errors({ detail: 'No such profile.', pointer: '/data/1/id' }),
    });
    expect(named.map(toBrief)).toEqual(['unattributed pointer rejected', 'rejected rejected']);
  });
});

describe('the response to a look-up', () => {
  it.each(['remove_from_list', 'erase'] as const)(
    'is never a success of the request itself: %s',
    (lane) => {
      const lookUp = { lane, count: 1, isLookUp: true } as const;
      for (const status of [200, 202, 204]) {
        expect(toBrief(outcomeOf({ ...lookUp, status, headers: {} }))).toBe('retryable edge');
      }
      const body = errors({ detail: 'Not found.', pointer: '' });
      expect(toBrief(outcomeOf({ ...lookUp, status: 404, body }))).toBe('blocked endpoint');
    },
  );

  it('without a scope blocks the lane, and the advice names the scope of the look-up', () => {
    const outcome = outcomeOf({
      ...{ lane: 'remove_from_list', isLookUp: true },
      ...{ status: 403, body: errors({}) },
    });
    expect(outcome).toMatchObject({
      kind: 'blocked',
      advice: 'forbidden: give the key its scopes (profiles:write, lists:write, profiles:read)',
    });
  });
});

it('a response that breaks off keeps its status in the reason', () => {
  const outcome = toFailureOutcome({ ok: false, status: 202, code: 'reset', detail: 'broken' });
  expect(outcome).toMatchObject({ kind: 'retryable', reason: { code: 'reset', status: 202 } });
});

describe('the advice on a blocked lane', () => {
  it.each<[string, Given]>([
    ['unauthorized', { status: 401 }],
    ['forbidden', { status: 403, body: errors({}) }],
    ['endpoint', { status: 404, body: errors({}) }],
    ['revision', { body: errors({ detail: 'Unable to specify a future revision date' }) }],
    [
      'list',
      { lane: 'profiles', body: errors({ pointer: '/data/relationships/lists/data/0/id' }) },
    ],
  ])('begins with what is wrong: %s', (word, given) => {
    const outcome = outcomeOf(given);
    expect('advice' in outcome && outcome.advice).toMatch(new RegExp(`^${word}: .`));
  });

  it('names the setting that has the credentials of the proxy', () => {
    const refused = { ok: false, status: 407, code: 'proxy_auth', detail: 'no' } as const;
    expect(toFailureOutcome(refused)).toMatchObject({
      kind: 'blocked',
      advice: expect.stringContaining('HTTPS_PROXY') as string,
    });
  });
});

describe('entries that pointers of errors name', () => {
  const email = { detail: 'Invalid email address', pointer: `${profiles}/1/attributes/email` };

  it("are rejected with Klaviyo's own text, and the others are sent again", () => {
    const outcomes = outcomesOf({ lane: 'profiles', body: errors(email) });
    const rejected: Outcome = {
      kind: 'rejected',
      reason: {
        code: 'rejected',
        detail: 'Invalid email address',
        status: 400,
        faults: [{ pointer: '/attributes/email', detail: 'Invalid email address' }],
      },
    };
    expect(outcomes.map(toBrief)).toEqual([
      'unattributed pointer rejected',
      'rejected rejected',
      'unattributed pointer rejected',
    ]);
    expect(outcomes[1]).toEqual(rejected);
  });

  it('each have only the texts of their own errors', () => {
    const phone = {
      detail: 'Invalid phone number',
      pointer: `${profiles}/1/attributes/phone_number`,
    };
    const other = { detail: 'Not a field', pointer: `${profiles}/0/attributes/x` };
    const [first, second] = outcomesOf({ lane: 'profiles', body: errors(other, email, phone) });
    expect(first).toMatchObject({
      reason: { detail: 'Not a field', faults: [{ pointer: '/attributes/x' }] },
    });
    expect(second).toMatchObject({
      reason: {
        detail: 'Invalid email address; Invalid phone number',
        faults: [{ pointer: '/attributes/email' }, { pointer: '/attributes/phone_number' }],
      },
    });
  });

  it.each([
    [
      `${events}/1/attributes/profile/data/attributes/email`,
      '/attributes/profile/data/attributes/email',
    ],
    [
      `${events}/1/attributes/events/data/0/attributes/time`,
      '/attributes/events/data/0/attributes/time',
    ],
    [`${events}/1`, ''],
    [`${events}/1/`, '/'],
    [`${events}/1.attributes.email`, '/.attributes.email'],
    [`${events}[1]/attributes`, '/attributes'],
    [`${events}/[1]`, ''],
    [`#${events}/1/x`, '/x'],
    [`${events.slice(1)}/1/x`, '/x'],
  ])('are found with a pointer such as %s', (pointer, within) => {
    const outcomes = outcomesOf({ body: errors({ pointer }) });
    expect(outcomes.map(({ kind }) => kind)).toEqual(['unattributed', 'rejected', 'unattributed']);
    expect(outcomes[1]).toMatchObject({ reason: { faults: [{ pointer: within }] } });
  });

  it.each(['1x', '-1', '1e0', '99999999999', ''])(
    'are not found with an index such as "%s"',
    (index) => {
      const outcome = outcomeOf({ count: 2, body: errors({ pointer: `${events}/${index}` }) });
      expect(toBrief(outcome)).toBe('unattributed bisect rejected');
    },
  );

  it('are rejected even if a further error names no entry', () => {
    const outcomes = outcomesOf({
      lane: 'profiles',
      body: errors(email, { pointer: '/data' }, { pointer: `${profiles}/99/x` }),
    });
    expect(outcomes.map(({ kind }) => kind)).toEqual(['unattributed', 'rejected', 'unattributed']);
  });

  it('are all rejected if all are named', () => {
    const all = [0, 1, 2].map((index) => ({ pointer: `${events}/${index}/attributes` }));
    expect(outcomesOf({ body: errors(...all) }).map(toBrief)).toEqual(
      Array.from({ length: 3 }, () => 'rejected rejected'),
    );
  });

  it('are rejected for a field called revision, which is not about the API revision', () => {
    const detail = "'revision' is not a valid field for the resource 'profile'.";
    const outcomes = outcomesOf({
      body: errors({ detail, pointer: `${events}/0/attributes/revision` }),
    });
    expect(outcomes.map(({ kind }) => kind)).toEqual(['rejected', 'unattributed', 'unattributed']);
    expect(toBrief(outcomeOf({ body: errors({ detail }) }))).toBe('unattributed bisect rejected');
  });

  it('are sent again if they only repeat a unique_id, while bad entries are rejected', () => {
    const repeat = { detail: 'Duplicate unique_id in request', pointer: `${events}/0/attributes` };
    const bad = {
      detail: 'unique_id must be a string of 1 to 255 characters.',
      pointer: `${events}/2/x`,
    };
    expect(outcomesOf({ body: errors(repeat, bad) }).map(toBrief)).toEqual([
      'unattributed pointer rejected',
      'unattributed pointer rejected',
      'rejected rejected',
    ]);
  });
});

describe('the detail of a reason', () => {
  it("is Klaviyo's own text, the title, or at least the status", () => {
    const words = (given: Given): string => {
      const outcome = outcomeOf({ count: 1, ...given });
      return 'reason' in outcome ? outcome.reason.detail : '';
    };
    expect(words({ body: errors({ detail: 'Invalid input' }) })).toBe('Invalid input');
    expect(words({ body: { errors: [{ title: 'Conflict.' }] } })).toBe('Conflict.');
    expect(words({ body: { errors: [null, 'x', {}] } })).toBe('Klaviyo answered 400');
    expect(words({ status: 410, body: { message: 'retired' } })).toBe('retired');
    expect(words({ status: 200, bodyText: 'OK' })).toBe(
      'something between us and Klaviyo answered 200',
    );
    expect(words({ status: 503 })).toBe('Klaviyo answered 503');
    expect(words({ status: 503, bodyText: 'x <title>No</title>' })).toBe(
      'something between us and Klaviyo answered 503',
    );
    expect(words({ bodyText: page })).toBe(
      'something between us and Klaviyo answered 400 ("Just a moment...")',
    );
    // The text of a proxy's JSON is not Klaviyo's.
    expect(words({ headers: html, body: errors({}) })).toBe(
      'something between us and Klaviyo answered 400',
    );
    expect(words({ status: 202, body: errors({}) })).toBe(
      'something between us and Klaviyo answered 202',
    );
    expect(words({ status: 400, isWhole: false })).toBe(
      'something between us and Klaviyo answered 400, and the body cannot be read',
    );
    expect(words({ status: 202, lane: 'profiles' })).toBe('Klaviyo answered 202 without a job');
    expect(words({ headers: html, bodyText: page })).toBe(
      'something between us and Klaviyo answered 400 ("Just a moment...")',
    );
  });

  it('stays short, however long the response is', () => {
    const long = Array.from({ length: 5000 }, (_, index) => ({
      detail: `${index} ${'x'.repeat(2000)}`,
      pointer: `${events}/0/${'y'.repeat(2000)}`,
    }));
    const [outcome] = outcomesOf({ count: 1, body: errors(...long) });
    expect(JSON.stringify(outcome).length).toBeLessThan(40_000);
  });
});

describe('toOutcomes, whatever the response is,', () => {
  const pointer = fc.oneof(
    fc.string(),
    fc.nat(20).map((index) => `${events}/${index}/attributes`),
    fc.nat(20).map((index) => `${profiles}/${index}`),
  );
  const loose = fc.oneof(fc.jsonValue(), pointer);
  const error = fc.record(
    {
      detail: loose,
      title: loose,
      code: loose,
      status: loose,
      source: fc.oneof(loose, fc.record({ pointer: loose })),
    },
    { requiredKeys: [] },
  );
  const body = fc.oneof(
    fc.string(),
    fc.jsonValue().map((value) => JSON.stringify(value)),
    fc.array(fc.oneof(error, loose)).map((list) => JSON.stringify({ errors: list })),
    fc.record({ data: loose }).map((value) => JSON.stringify(value)),
  );
  const response = fc.record({
    lane: fc.constantFrom(...lanes),
    count: fc.integer({ min: 1, max: 20 }),
    status: fc.oneof(fc.integer({ min: 200, max: 599 }), fc.constantFrom(202, 400, 403, 404, 409)),
    headers: fc.record({ 'content-type': fc.constantFrom('text/html', 'application/json', '') }),
    bodyText: body,
    isWhole: fc.boolean(),
    now: fc.constant(now),
  });

  it('returns exactly one outcome for each entry and never throws', () => {
    fc.assert(
      fc.property(response, (given) => {
        expect(toOutcomes(given)).toHaveLength(given.count);
      }),
      { numRuns: 2000 },
    );
  });

  it('delivers only after a complete success, and rejects only after a 4xx in JSON or a 413', () => {
    fc.assert(
      fc.property(response, (given) => {
        for (const { kind } of toOutcomes(given)) {
          if (kind === 'delivered' || kind === 'pending') {
            const success = given.lane === 'remove_from_list' ? 204 : 202;
            expect([given.status, given.isWhole]).toEqual([success, true]);
          }
          if (kind !== 'rejected' || given.status === 413) continue;
          expect(given.bodyText).toMatch(/^\s*[[{]/);
          const isNoList = given.lane === 'remove_from_list' && given.status === 404;
          expect(isNoList || [400, 409, 422].includes(given.status) || given.status > 410).toBe(
            true,
          );
          expect(given.status).toBeLessThan(500);
        }
      }),
      { numRuns: 2000 },
    );
  });

  it.each(['[', '{"a":', '<title>', '"'])('reads a long body that repeats "%s" quickly', (part) => {
    const bodyText = part.repeat(Math.ceil(4_000_000 / part.length));
    expect(outcomesOf({ bodyText })).toHaveLength(3);
    expect(outcomesOf({ bodyText, headers: html })).toHaveLength(3);
  });
});
