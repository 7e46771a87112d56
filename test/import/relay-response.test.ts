import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseRelayResponse, type HttpResult } from '../../src/import/relay-response.js';
import { aProblem } from './fixture.js';

const now = Date.UTC(2026, 0, 15, 12);

const answerOf = (status: number, body: unknown = '', retryAfter: string | null = null) =>
  parseRelayResponse({
    status,
    retryAfter,
    now,
    text: typeof body === 'string' ? body : JSON.stringify(body),
  });

const errors = [{ pointer: '/value', detail: 'must be a number' }];

describe("the relay's response", () => {
  it('202 contains the accepted count and the rejected entries by index', () => {
    const body = {
      accepted: 3,
      duplicates: 1,
      rejected: [{ index: 2, errors }],
      warnings: [{ index: 0, warnings: [] }],
    };
    expect(answerOf(202, body)).toEqual({
      kind: 'accepted',
      accepted: 3,
      duplicates: 1,
      warned: 1,
      rejected: new Map([[2, errors]]),
    });
  });

  it('400 contains the issues of each entry', () => {
    const told = [
      { pointer: '/0/value', detail: 'a' },
      { pointer: '/0', detail: 'b' },
      { pointer: '/12/properties/x', detail: 'c' },
    ];
    expect(answerOf(400, aProblem('invalid', 'nothing was taken', told))).toEqual({
      kind: 'invalid',
      detail: 'nothing was taken',
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

  it('400 about the whole request concerns no entry', () => {
    const told = [{ pointer: '', detail: 'holds nothing to accept' }];
    expect(answerOf(400, aProblem('invalid', 'no', told))).toMatchObject({ rejected: new Map() });
  });

  it.each([
    ['7', 7000],
    ['0', 1000],
    ['86400', 300_000],
    [new Date(now + 9000).toUTCString(), 9000],
    [new Date(now - 9000).toUTCString(), 1000],
  ])('with Retry-After %s means a wait of %i ms', (retryAfter, waitMs) => {
    for (const status of [429, 503]) {
      const answer = answerOf(status, aProblem('unavailable', 'the buffer is full'), retryAfter);
      expect(answer).toEqual({ kind: 'wait', waitMs, detail: `${status}: the buffer is full` });
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
  ])('%i without a problem document means %s', (status, kind) => {
    expect(answerOf(status, '<html>')).toMatchObject({ kind });
    expect(answerOf(status, '', status === 503 ? 'soon' : null)).toMatchObject({ kind });
  });

  it.each([
    [401, /this key is not known.*RELAY_API_KEY or --key-file/],
    [403, /this key is not known.*check the key/],
    [404, /not a relay: check --url/],
    [415, /^the server responds with 415: this key is not known$/],
  ])('%i explains what to do', (status, words) => {
    expect(answerOf(status, aProblem('x', 'this key is not known'))).toMatchObject({
      kind: 'stop',
      detail: expect.stringMatching(words) as string,
    });
  });

  it.each(['', '{"accepted":1}', '[]', 'ok'])('202 with %j is not from a relay', (text) => {
    expect(answerOf(202, text)).toMatchObject({ kind: 'stop' });
  });

  it('is interpreted whatever it contains', () => {
    const raw: fc.Arbitrary<HttpResult> = fc.record({
      status: fc.integer({ min: 100, max: 599 }),
      retryAfter: fc.option(fc.string()),
      text: fc.oneof(fc.string(), fc.json()),
      now: fc.constant(now),
    });
    const kinds = ['taken', 'invalid', 'too-large', 'wait', 'failed', 'stop'];
    fc.assert(
      fc.property(raw, (given) => {
        expect(kinds).toContain(parseRelayResponse(given).kind);
      }),
    );
  });
});
