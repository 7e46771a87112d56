import { describe, expect, it } from 'vitest';
import {
  selectRevision,
  testedRevisions,
  toNewRevision,
  toEndOfSupport,
  toNextRevision,
  toRules,
  CurrentRevision,
  type RevisionMove,
} from '../../src/klaviyo/revision.js';
import type { TransportResponse, KlaviyoRequest } from '../../src/klaviyo/transport.js';

const at = (day: string): number => Date.parse(`${day}T12:00:00Z`);
const yearMs = 365 * 86_400_000;

describe('the tested revisions', () => {
  it('have at least a year of support left (otherwise test a newer one and add it to the table)', () => {
    const newest = testedRevisions.at(-1)?.date ?? '';
    expect(toEndOfSupport(newest) - Date.now()).toBeGreaterThan(yearMs);
  });

  it("are in order, each with Klaviyo's rules at that revision", () => {
    expect(testedRevisions).toEqual([
      {
        date: '2024-10-15',
        maxEventProperties: 300,
        earliestEventTime: Date.UTC(2000, 0),
        takesBackfill: false,
      },
      {
        date: '2026-07-15',
        maxEventProperties: 400,
        earliestEventTime: Date.UTC(1990, 0),
        takesBackfill: true,
      },
    ]);
  });

  it.each([
    ['2024-10-15', 300],
    ['2025-10-15', 300],
    ['2026-07-15', 400],
    ['2026-07-15.pre', 400],
    ['2099-01-01', 400],
    ['2022-10-17', 300],
  ])(
    'have the rules of %s, which are those of the newest tested one before it',
    (revision, properties) => {
      expect(toRules(revision).maxEventProperties).toBe(properties);
    },
  );

  it.each([
    ['2024-11-01', '2024-10-15'],
    ['2026-10-14', '2024-10-15'],
    ['2026-10-15', '2026-07-15'],
    ['2035-01-01', '2026-07-15'],
  ])('on %s make auto select %s', (day, revision) => {
    expect(selectRevision(at(day))).toBe(revision);
  });

  it('follow one another, and backfilled events use the first that supports them', () => {
    expect(toNextRevision('2024-10-15')).toBe('2026-07-15');
    expect(toNextRevision('2026-07-15')).toBeNull();
    expect(toNewRevision('2024-10-15')).toBe('2026-07-15');
    expect(toNewRevision('2026-10-15')).toBe('2026-10-15');
  });
});

describe('the current revision', () => {
  const moves: RevisionMove[] = [];
  const start = (setting: string, day: string): CurrentRevision => {
    moves.length = 0;
    return new CurrentRevision({ setting, now: at(day), onMove: (move) => void moves.push(move) });
  };
  const post: KlaviyoRequest = { method: 'POST', path: '/api/event-bulk-create-jobs' };
  const get: KlaviyoRequest = { method: 'GET', path: '/api/profile-bulk-import-jobs/1' };
  const response = (status: number, error: object | null, headers = {}): TransportResponse => ({
    ...{ ok: true, status, headers, isWhole: true },
    bodyText: error === null ? '' : JSON.stringify({ errors: [error] }),
  });
  const retired = response(410, { detail: 'The revision 2024-10-15 has been retired.' });

  it('moves up once, however many responses say that it is retired, and never down', () => {
    const revision = start('auto', '2026-01-01');
    expect(revision.current).toBe('2024-10-15');
    expect(revision.noteResponse('2024-10-15', post, retired)).toBe('2026-07-15');
    expect(revision.noteResponse('2024-10-15', post, retired)).toBe('2026-07-15');
    expect(revision.current).toBe('2026-07-15');
    expect(revision.noteResponse('2026-07-15', post, retired)).toBeNull();
    revision.restore('2024-10-15');
    expect(revision.current).toBe('2026-07-15');
    expect(moves).toEqual([
      {
        from: '2024-10-15',
        to: '2026-07-15',
        why: 'The revision 2024-10-15 has been retired.',
      },
    ]);
  });

  it.each([
    ['a retirement with 400', post, response(400, { detail: 'Invalid revision: retired' }), true],
    ['a 410 of a bulk endpoint with another text', post, response(410, { title: 'Gone' }), true],
    ['a 410 for a resource that is read', get, response(410, { title: 'Gone' }), false],
    ['a later revision that answered', post, response(202, null, { revision: '2026-10-15' }), true],
    ['the same revision', post, response(202, null, { revision: '2024-10-15' }), false],
    ['success', post, response(202, null), false],
    [
      'an unknown field of that name',
      post,
      response(400, { detail: "'revision' is not a valid field" }),
      false,
    ],
    [
      'an entry that speaks of it',
      post,
      response(400, { detail: 'bad revision', source: { pointer: '/data/attributes/x' } }),
      false,
    ],
    [
      'a revision of the future',
      post,
      response(404, { detail: 'Unable to specify a future revision date' }),
      false,
    ],
    ['an HTML page of a proxy', post, { ...response(410, null), bodyText: '<html>' }, false],
    [
      'an overload whose text contains "revision"',
      post,
      response(503, { detail: 'revision store is down' }),
      false,
    ],
    [
      'no answer',
      post,
      { ok: false, code: 'timeout', detail: 'no answer in time', status: null },
      false,
    ],
  ] as const)('by %s: %j', (_what, request, reply, moved) => {
    const revision = start('auto', '2026-01-01');
    expect(revision.noteResponse('2024-10-15', request, reply)).toBe(moved ? '2026-07-15' : null);
    expect(moves).toHaveLength(moved ? 1 : 0);
  });

  it('stays at a fixed setting for any response and stored revision', () => {
    const revision = start('2024-10-15', '2026-11-30');
    revision.restore('2026-07-15');
    expect(revision.noteResponse('2024-10-15', post, retired)).toBeNull();
    expect(revision.current).toBe('2024-10-15');
    expect(revision.warning(at('2026-11-30'))).toBe(
      'KLAVIYO_REVISION 2024-10-15 ran out of support on 2026-10-15: set it to auto',
    );
    expect(revision.warning(at('2026-10-14'))).toBeNull();
  });

  it.each([
    ['2026-07-15', '2026-07-15'],
    ['2030-01-01', '2024-10-15'],
    ['nonsense', '2024-10-15'],
    [null, '2024-10-15'],
  ])('continues with the stored revision if it is tested: %s', (kept, current) => {
    const revision = start('auto', '2026-01-01');
    revision.restore(kept);
    expect(revision.current).toBe(current);
  });

  it('is explained to an operator', () => {
    expect(start('auto', '2026-11-30').explain()).toBe(
      '2026-07-15, the newest that is tested (KLAVIYO_REVISION is auto); supported until 2028-07-15',
    );
    expect(start('auto', '2026-01-01').explain()).toBe(
      '2024-10-15, the oldest that is tested and supported (KLAVIYO_REVISION is auto); supported until 2026-10-15',
    );
    expect(start('2026-04-15', '2026-11-30').explain()).toBe(
      '2026-04-15, as KLAVIYO_REVISION says; supported until 2028-04-15',
    );
    expect(start('auto', '2030-01-01').warning(at('2030-01-01'))).toContain('update klaviyo-relay');
  });
});
