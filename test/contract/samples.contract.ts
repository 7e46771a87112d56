import { describe, expect, it } from 'vitest';
import type { Lane } from '../../src/model/lane.js';
import type { Outcome } from '../../src/model/outcome.js';
import { parseImportError, toImportOutcomes } from '../../src/klaviyo/import-outcomes.js';
import { toOutcomes } from '../../src/klaviyo/response.js';
import { toImported } from '../klaviyo/klaviyo-server.js';
import { readErrorSamples, type Sample } from './reference.js';

const rejectedFirst = ['rejected rejected', 'unattributed pointer rejected'];
const rejectedSecond = ['unattributed pointer rejected', 'rejected rejected'];
const both = (outcome: string): readonly string[] => [outcome, outcome];
const bisect = both('unattributed bisect rejected');

/** The outcomes of each sample for a request with two entries. */
const expected: Readonly<Record<string, readonly string[]>> = {
  '429 throttled': both('throttled throttled'),
  '429 throttled (older shape)': both('throttled throttled'),
  '409 duplicate_profile (POST /api/profiles)': bisect,
  '409 duplicate_profile (POST /api/profile-import, pre-2024-10-15)': bisect,
  '401 bad token': both('blocked auth'),
  '401 wrong scheme': both('blocked auth'),
  '403 permission_denied': both('blocked scope'),
  '403 forbidden': both('blocked scope'),
  '400 invalid phone (profile endpoint)': bisect,
  '400 invalid phone (profile nested in event/push-token)': bisect,
  '400 invalid email': bisect,
  '400 bulk: phone region (profile-subscription-bulk-create-jobs)': rejectedFirst,
  '400 bulk profiles: unknown field': rejectedFirst,
  '400 bulk profiles: invalid email': rejectedSecond,
  '400 bulk events: item error': rejectedFirst,
  '400 bad list relationship on profile import': both('blocked list'),
  '400 malformed payload': bisect,
  '400 bad query parameter (source.parameter instead of pointer)': bisect,
  '404 future revision': both('blocked revision'),
  '410 legacy v1/v2': both('blocked endpoint'),
  '400 from Cloudflare edge (HTML)': both('retryable edge'),
  '403 Cloudflare challenge (HTML)': both('retryable edge'),
};

const samples = readErrorSamples();
/** The only sample that is not an error response: it lists the errors of a job. */
const importErrors = 'import-errors resource (async)';

function toBodyText({ body, body_text: text, body_detail_only: detail }: Sample): string {
  if (text !== undefined) return text;
  return JSON.stringify(detail === undefined ? body : { errors: [{ detail }] });
}

function toBriefs(sample: Sample, lane: Lane): readonly string[] {
  const outcomes = toOutcomes({
    lane,
    count: 2,
    status: sample.status,
    headers: sample.headers ?? { 'content-type': 'application/vnd.api+json' },
    bodyText: toBodyText(sample),
    isWhole: true,
    now: 0,
  });
  return outcomes.map(toBrief);
}

function toBrief(outcome: Outcome): string {
  if (outcome.kind === 'unattributed')
    return `unattributed ${outcome.method} ${outcome.reason.code}`;
  return 'reason' in outcome ? `${outcome.kind} ${outcome.reason.code}` : outcome.kind;
}

describe('the recorded responses of Klaviyo', () => {
  it('all have an expected interpretation', () => {
    const names = samples.map(({ name }) => name);
    expect(names.sort()).toEqual([...Object.keys(expected), importErrors].sort());
  });

  it.each(samples.filter(({ name }) => name !== importErrors))(
    'include $name, which has the expected outcomes',
    (sample) => {
      const lane = sample.name.includes('events') ? 'events' : 'profiles';
      expect(toBriefs(sample, lane)).toEqual(expected[sample.name]);
    },
  );

  it('include import errors without an identifier, which a job with one profile attributes to that profile', () => {
    const sample = samples.find(({ name }) => name === importErrors);
    const { data } = sample?.body as { data: readonly unknown[] };
    const payload = Buffer.from('{"type":"profile","attributes":{"external_id":"c-1"}}');
    const job = { id: 'job-1', status: 'complete', total: 1, completed: 0, failed: 1 } as const;
    const outcomes = toImportOutcomes(toImported([payload]), data.map(parseImportError), job);
    expect(outcomes.map(toBrief)).toEqual(['rejected import_failed']);
    expect(outcomes[0]).toMatchObject({
      reason: { detail: 'The payload provided in the request is invalid.' },
    });
  });
});
