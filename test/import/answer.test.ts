import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { toAnswer, type RawAnswer } from '../../src/import/answer.js';
import { aProblem } from './fixture.js';

const now = Date.UTC(2026, 0, 15, 12);

const answerOf = (status: number, body: unknown = '', retryAfter: string | null = null) =>
  toAnswer({
    status,
    retryAfter,
    now,
    text: typeof body === 'string' ? body : JSON.stringify(body),
  });

const errors = [{ pointer: '/value', detail: 'must be a number' }];

describe('an answer of a relay', () => {
  it('202 tells what was taken, and by its place what was not', () => {
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

  it('400 tells of each entry what is wrong', () => {
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

  it('400 about the whole tells of no entry', () => {
    const told = [{ pointer: '', detail: 'holds nothing to accept' }];
    expect(answerOf(400, aProblem('invalid', 'no', told))).toMatchObject({ rejected: new Map() });
  });

  it.each([
    ['7', 7000],
    ['0', 1000],
    ['86400', 300_000],
    [new Date(now + 9000).toUTCString(), 9000],
    [new Date(now - 9000).toUTCString(), 1000],
  ])('Retry-After %s is a wait of %i ms', (retryAfter, waitMs) => {
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
  ])('%i without a word of a relay is: %s', (status, kind) => {
    expect(answerOf(status, '<html>')).toMatchObject({ kind });
    expect(answerOf(status, '', status === 503 ? 'soon' : null)).toMatchObject({ kind });
  });

  it.each([
    [401, /this key is not known.*RELAY_API_KEY or --key-file/],
    [403, /this key is not known.*look at the key/],
    [404, /no relay: look at --url/],
    [415, /^it answers 415: this key is not known$/],
  ])('%i says what to do', (status, words) => {
    expect(answerOf(status, aProblem('x', 'this key is not known'))).toMatchObject({
      kind: 'stop',
      detail: expect.stringMatching(words) as string,
    });
  });

  it.each(['', '{"accepted":1}', '[]', 'ok'])('202 with %j is of no relay', (text) => {
    expect(answerOf(202, text)).toMatchObject({ kind: 'stop' });
  });

  it('is judged whatever it is', () => {
    const raw: fc.Arbitrary<RawAnswer> = fc.record({
      status: fc.integer({ min: 100, max: 599 }),
      retryAfter: fc.option(fc.string()),
      text: fc.oneof(fc.string(), fc.json()),
      now: fc.constant(now),
    });
    const kinds = ['taken', 'invalid', 'too-large', 'wait', 'failed', 'stop'];
    fc.assert(
      fc.property(raw, (given) => {
        expect(kinds).toContain(toAnswer(given).kind);
      }),
    );
  });
});
