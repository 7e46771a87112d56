import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseRelayResponse, type HttpResult } from '../../src/import/relay-response.js';
import { aProblem } from './fixture.js';

const now = Date.UTC(2026, 0, 15, 12);

const parse = (status: number, body: unknown = '', retryAfter: string | null = null) =>
  parseRelayResponse({
    status,
    retryAfter,
    now,
    text: typeof body === 'string' ? body : JSON.stringify(body),
  });

const errors = [{ pointer: '/value', detail: 'must be a number' }];

describe('the response of a relay', () => {
  it('with 202 contains the accepted count and the rejected entries by index', () => {
    const body = {
      accepted: 3,
      duplicates: 1,
      rejected: [{ index: 2, errors }],
      warnings: [{ index: 0, warnings: [] }],
    };
    expect(parse(202, body)).toEqual({
      kind: 'accepted',
      accepted: 3,
      duplicates: 1,
      warned: 1,
      rejected: new Map([[2, errors]]),
    });
  });

  it('with 400 contains the issues of each entry', () => {
    const issues = [
      { pointer: '/0/value', detail: 'a' },
      { pointer: '/0', detail: 'b' },
      { pointer: '/12/properties/x', detail: 'c' },
    ];
    expect(parse(400, aProblem('invalid', 'nothing was accepted', issues))).toEqual({
      kind: 'invalid',
      detail: 'nothing was accepted',
      rejected: new Map([
        [
          0,
          [
            { pointer: '/value', detail: 'a' },
            { pointer: '', detail: 'b' },
          ],
        ],
        [12, [{ pointer: '/properties/x', detail: 'c' }]],
      ]),
    });
  });

  it('with 400 for the whole request rejects no entry', () => {
    const issues = [{ pointer: '', detail: 'holds nothing to accept' }];
    expect(parse(400, aProblem('invalid', 'no', issues))).toMatchObject({ rejected: new Map() });
  });

  it.each([
    ['7', 7000],
    ['0', 1000],
    ['86400', 300_000],
    [new Date(now + 9000).toUTCString(), 9000],
    [new Date(now - 9000).toUTCString(), 1000],
  ])('with Retry-After %s means a wait of %i ms', (retryAfter, waitMs) => {
    for (const status of [429, 503]) {
      const parsed = parse(status, aProblem('unavailable', 'the buffer is full'), retryAfter);
      expect(parsed).toEqual({ kind: 'wait', waitMs, detail: `${status}: the buffer is full` });
    }
  });

  it.each([
    [503, 'failed'],
    [429, 'failed'],
    [500, 'failed'],
    [502, 'failed'],
    [408, 'failed'],
    [413, 'too-large'],
    [400, 'stop'],
    [200, 'stop'],
    [302, 'stop'],
    [404, 'stop'],
  ])('with %i and without a problem document means %s', (status, kind) => {
    expect(parse(status, '<html>')).toMatchObject({ kind });
    expect(parse(status, '', status === 503 ? 'soon' : null)).toMatchObject({ kind });
  });

  it.each([
    [401, /this key is not known.*RELAY_API_KEY or --key-file/],
    [403, /this key is not known.*check the key/],
    [404, /not a relay: check --url/],
    [415, /^the server responds with 415: this key is not known$/],
  ])('with %i has a detail that says what to do', (status, words) => {
    expect(parse(status, aProblem('x', 'this key is not known'))).toMatchObject({
      kind: 'stop',
      detail: expect.stringMatching(words) as string,
    });
  });

  it.each(['', '{"accepted":1}', '[]', 'ok'])(
    'with 202 and the body %j is not from a relay',
    (text) => {
      expect(parse(202, text)).toMatchObject({ kind: 'stop' });
    },
  );

  it('with any content has one of the known kinds', () => {
    const raw: fc.Arbitrary<HttpResult> = fc.record({
      status: fc.integer({ min: 100, max: 599 }),
      retryAfter: fc.option(fc.string()),
      text: fc.oneof(fc.string(), fc.json()),
      now: fc.constant(now),
    });
    const kinds = ['accepted', 'invalid', 'too-large', 'wait', 'failed', 'stop'];
    fc.assert(
      fc.property(raw, (given) => {
        expect(kinds).toContain(parseRelayResponse(given).kind);
      }),
    );
  });
});
