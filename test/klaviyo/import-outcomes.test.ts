import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Outcome } from '../../src/model/outcome.js';
import {
  parseImportError,
  toImportOutcomes,
  type EndedJob,
  type ImportError,
} from '../../src/klaviyo/import-outcomes.js';
import { toImported, toPayload } from './klaviyo-server.js';

const aPayload = (attributes: object) => toPayload({ type: 'profile', attributes });
const ada = aPayload({ email: 'Ada@klaviyo-demo.com', first_name: 'Ada' });
const bo = aPayload({ phone_number: '+15005550006' });
const cy = aPayload({ external_id: 'c-3', email: 'cy@klaviyo-demo.com' });
const everyone = [ada, bo, cy];

const aJob = (overrides: Partial<EndedJob> = {}): EndedJob => ({
  status: 'complete',
  total: 3,
  completed: null,
  failed: null,
  ...overrides,
});
const anError = (original: unknown, { detail = 'Invalid', pointer = '/data' } = {}) =>
  parseImportError({
    type: 'import-error',
    id: 'e1',
    attributes: {
      code: 'invalid',
      title: 'Invalid input',
      detail,
      source: { pointer },
      original_payload: original,
    },
  });

const outcomesOf = (
  payloads: readonly Uint8Array[],
  errors: readonly ImportError[],
  job: EndedJob,
): readonly Outcome[] => toImportOutcomes(toImported(payloads), errors, job);

const kinds = (outcomes: readonly Outcome[]): string =>
  outcomes
    .map((outcome) =>
      'reason' in outcome ? `${outcome.kind} ${outcome.reason.code}` : outcome.kind,
    )
    .join(', ');

describe('a complete import job', () => {
  it('delivers everything if nothing failed', () => {
    expect(kinds(outcomesOf(everyone, [], aJob({ failed: 0 })))).toBe(
      'delivered, delivered, delivered',
    );
  });

  it.each<[string, unknown]>([
    ['its resource', { type: 'profile', attributes: { email: 'ada@KLAVIYO-demo.com' } }],
    ['its bare attributes', { email: 'ada@klaviyo-demo.com' }],
    ['a document', { data: { type: 'profile', attributes: { email: 'ada@klaviyo-demo.com' } } }],
    ['text', JSON.stringify({ attributes: { email: 'ada@klaviyo-demo.com' } })],
  ])(
    'rejects the profile that an error contains as %s, ignoring the case of its address',
    (_name, original) => {
      const outcomes = outcomesOf(everyone, [anError(original)], aJob({ failed: 1 }));
      expect(kinds(outcomes)).toBe('rejected import_failed, delivered, delivered');
    },
  );

  it('rejects profiles that are named by phone number or external id', () => {
    const errors = [anError({ phone_number: '+1 500-555-0006' }), anError({ external_id: 'c-3' })];
    expect(kinds(outcomesOf(everyone, errors, aJob({ failed: 2 })))).toBe(
      'delivered, rejected import_failed, rejected import_failed',
    );
  });

  it("rejects with Klaviyo's own text and pointers into the profile", () => {
    const original = { email: 'ada@klaviyo-demo.com' };
    const errors = [
      anError(original, { detail: 'Invalid email address', pointer: '/data/attributes/email' }),
      anError(original, { detail: 'No such locale', pointer: '/data' }),
    ];
    expect(outcomesOf([ada], errors, aJob({ failed: 1 }))).toEqual([
      {
        kind: 'rejected',
        reason: {
          code: 'import_failed',
          detail: 'Invalid email address; No such locale',
          faults: [
            { pointer: '/attributes/email', detail: 'Invalid email address' },
            { pointer: '', detail: 'No such locale' },
          ],
        },
      },
    ]);
  });

  it('attributes an error to the profile that shares the most identifiers with it', () => {
    const payloads = [
      aPayload({ email: 'x@klaviyo-demo.com', external_id: 'one' }),
      aPayload({ email: 'x@klaviyo-demo.com', external_id: 'two' }),
    ];
    const error = anError({ email: 'x@klaviyo-demo.com', external_id: 'two' });
    expect(kinds(outcomesOf(payloads, [error], aJob({ failed: 1 })))).toBe(
      'delivered, rejected import_failed',
    );
  });

  it('attributes an error to the first profile if it shares more identifiers, or as many as others', () => {
    const payloads = [
      aPayload({ email: 'x@klaviyo-demo.com', external_id: 'one' }),
      aPayload({ email: 'x@klaviyo-demo.com', external_id: 'two' }),
    ];
    for (const original of [
      { email: 'x@klaviyo-demo.com', external_id: 'one' },
      { email: 'x@klaviyo-demo.com' },
    ]) {
      expect(kinds(outcomesOf(payloads, [anError(original)], aJob({ failed: 1 })))).toBe(
        'rejected import_failed, delivered',
      );
    }
  });

  it.each<[string, unknown, string]>([
    ['three levels deep', { data: { data: { data: { external_id: 'x' } } } }, 'rejected'],
    ['four levels deep', { data: { data: { data: { data: { external_id: 'x' } } } } }, 'retryable'],
    ['two levels deep in text', '{"data":{"data":{"external_id":"x"}}}', 'rejected'],
    ['three levels deep in text', '{"data":{"data":{"data":{"external_id":"x"}}}}', 'retryable'],
  ])(
    'finds identifiers up to three levels deep, the text included: %s',
    (_name, original, kind) => {
      const [outcome] = outcomesOf(
        [aPayload({ external_id: 'x' }), ada],
        [anError(original)],
        aJob({ failed: 1 }),
      );
      expect(outcome?.kind).toBe(kind);
    },
  );

  it('does not need the payloads if it has no errors', () => {
    const payloads = () => {
      throw new Error('the payloads are not needed');
    };
    expect(kinds(toImportOutcomes({ count: 1, payloads }, [], aJob({ failed: 0 })))).toBe(
      'delivered',
    );
  });

  it('rejects every profile if the errors name some, and as many failures are left as profiles', () => {
    const error = anError({ external_id: 'c-3' });
    expect(kinds(outcomesOf(everyone, [error], aJob({ failed: 3 })))).toBe(
      'rejected import_failed, rejected import_failed, rejected import_failed',
    );
  });

  it('delivers the others if it counts two profiles as one person, and one person failed', () => {
    const error = anError({ external_id: 'c-3' });
    const counts = { total: 2, completed: 1, failed: 1 };
    expect(kinds(outcomesOf(everyone, [error], aJob(counts)))).toBe(
      'delivered, delivered, rejected import_failed',
    );
  });

  it('counts a profile with several errors once', () => {
    const error = anError({ email: 'ada@klaviyo-demo.com' });
    expect(kinds(outcomesOf(everyone, [error, error, error], aJob({ failed: 1 })))).toBe(
      'rejected import_failed, delivered, delivered',
    );
  });

  it('uses the errors if it has no counts', () => {
    const named = anError({ external_id: 'c-3' });
    expect(kinds(outcomesOf(everyone, [named], aJob()))).toBe(
      'delivered, delivered, rejected import_failed',
    );
    const unmatched = anError({});
    expect(kinds(outcomesOf(everyone, [named, unmatched], aJob()))).toBe(
      'retryable import_unnamed, retryable import_unnamed, rejected import_failed',
    );
  });
});

describe('failures of an import job that no error names', () => {
  // The original_payload of Klaviyo's own OpenAPI example.
  const unmatched = anError({}, { detail: 'The payload provided in the request is invalid.' });

  it('make every profile retryable that has no error', () => {
    const outcomes = outcomesOf(
      everyone,
      [anError({ external_id: 'c-3' }), unmatched],
      aJob({ failed: 2 }),
    );
    expect(kinds(outcomes)).toBe(
      'retryable import_unnamed, retryable import_unnamed, rejected import_failed',
    );
    expect(outcomes[0]).toMatchObject({
      reason: { detail: 'The payload provided in the request is invalid.' },
    });
  });

  it('reject all profiles that are left if there are as many failures', () => {
    const outcomes = outcomesOf([ada], [unmatched], aJob({ failed: 1 }));
    expect(outcomes).toEqual([
      {
        kind: 'rejected',
        reason: {
          code: 'import_failed',
          detail: 'The payload provided in the request is invalid.',
          faults: [{ pointer: '', detail: 'The payload provided in the request is invalid.' }],
        },
      },
    ]);
    expect(kinds(outcomesOf(everyone, [], aJob({ failed: 3 })))).toBe(
      'rejected import_failed, rejected import_failed, rejected import_failed',
    );
  });

  it('are never more than the profiles', () => {
    expect(kinds(outcomesOf([ada], [], aJob({ failed: 700 })))).toBe('rejected import_failed');
  });
});

describe('a complete import job whose counts do not add up', () => {
  it.each<Partial<EndedJob>>([
    { completed: 2, failed: 0 },
    { completed: 0, failed: 0 },
    { total: 0, completed: 0, failed: 0 },
    { total: 0 },
  ])('makes the profiles retryable that it may not have processed with the counts %j', (counts) => {
    expect(kinds(outcomesOf(everyone, [], aJob(counts)))).toBe(
      'retryable import_incomplete, retryable import_incomplete, retryable import_incomplete',
    );
  });

  it('still rejects the profiles that failed in it', () => {
    const errors = [anError({ external_id: 'c-3' })];
    expect(kinds(outcomesOf(everyone, errors, aJob({ completed: 1, failed: 1 })))).toBe(
      'retryable import_incomplete, retryable import_incomplete, rejected import_failed',
    );
  });

  it.each<Partial<EndedJob>>([
    { completed: 3, failed: 0 },
    { completed: null, failed: 0 },
    { completed: 3, failed: null },
    { completed: null, failed: null },
    // Klaviyo may treat two profiles as one person.
    { total: 2, completed: 2, failed: 0 },
  ])('delivers everything if the counts do not say less: %j', (counts) => {
    expect(kinds(outcomesOf(everyone, [], aJob(counts)))).toBe('delivered, delivered, delivered');
  });
});

describe('a cancelled import job', () => {
  const job = aJob({ status: 'cancelled' });

  it('makes the profiles retryable that it may not have processed', () => {
    expect(kinds(outcomesOf(everyone, [], { ...job, completed: 2, failed: 0 }))).toBe(
      'retryable import_cancelled, retryable import_cancelled, retryable import_cancelled',
    );
  });

  it('makes its only profile retryable if it counts no completed one', () => {
    expect(kinds(outcomesOf([ada], [], { ...job, completed: null, failed: 0 }))).toBe(
      'retryable import_cancelled',
    );
  });

  it('still rejects the profiles that failed before', () => {
    const errors = [anError({ external_id: 'c-3' })];
    expect(kinds(outcomesOf(everyone, errors, { ...job, completed: 0, failed: 1 }))).toBe(
      'retryable import_cancelled, retryable import_cancelled, rejected import_failed',
    );
  });

  it('delivers the rest if it processed all profiles nevertheless', () => {
    const errors = [anError({ external_id: 'c-3' })];
    expect(kinds(outcomesOf(everyone, errors, { ...job, completed: 2, failed: 1 }))).toBe(
      'delivered, delivered, rejected import_failed',
    );
  });
});

it('toImportOutcomes returns one outcome for each payload and never throws, whatever the errors are', () => {
  const identifiers = fc.record(
    { email: fc.jsonValue(), phone_number: fc.jsonValue(), external_id: fc.jsonValue() },
    { requiredKeys: [] },
  );
  const original = fc.oneof(fc.jsonValue(), identifiers, fc.record({ attributes: identifiers }));
  const resource = fc.oneof(
    fc.jsonValue(),
    fc.record({ attributes: fc.record({ detail: fc.jsonValue(), original_payload: original }) }),
  );
  const payloads = fc.array(fc.oneof(identifiers.map(aPayload), fc.jsonValue().map(toPayload)));
  const job = fc.record({
    total: fc.nat(10),
    status: fc.constantFrom('complete' as const, 'cancelled' as const),
    completed: fc.option(fc.nat(10)),
    failed: fc.option(fc.nat(10)),
  });
  fc.assert(
    fc.property(fc.tuple(payloads, fc.array(resource), job), ([sent, resources, ended]) => {
      const outcomes = outcomesOf(sent, resources.map(parseImportError), ended);
      expect(outcomes).toHaveLength(sent.length);
      const delivered = outcomes.filter(({ kind }) => kind === 'delivered').length;
      // Never more than the profiles that Klaviyo does not count as failed.
      expect(delivered).toBeLessThanOrEqual(Math.max(0, sent.length - (ended.failed ?? 0)));
    }),
  );
});
