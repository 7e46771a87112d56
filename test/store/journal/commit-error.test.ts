import { describe, expect, it } from 'vitest';
import { CommitError, StuckError, toCommitError } from '../../../src/store/journal/commit-error.js';

/** A rejection as lmdb makes it: the reason is in a promise of its own. */
function reject(reason: Error): Error {
  const commitError = Promise.reject(reason);
  commitError.catch(() => undefined);
  return Object.assign(new Error('Commit failed (see commitError for details)'), { commitError });
}

describe('the error of a failed transaction', () => {
  it.each([
    ['an error', new Error('EIO'), 'EIO'],
    ['a text', 'aborted', 'aborted'],
    ['nothing', null, 'null'],
    [
      'an error of lmdb, whose reason is elsewhere',
      reject(new Error('MDB_BAD_TXN')),
      'MDB_BAD_TXN',
    ],
    [
      'an error of lmdb without a reason',
      Object.assign(new Error('failed'), { commitError: Promise.resolve() }),
      'failed',
    ],
  ])('has the reason of %s', async (_name, rejection, why) => {
    const error = await toCommitError(rejection);
    expect(error).toBeInstanceOf(CommitError);
    expect(error.name).toBe('CommitError');
    expect(error.message).toBe(`the journal could not be written: ${why}`);
    expect(error.cause).toBe(rejection);
  });

  it('is also that of a transaction that does not end', () => {
    expect(new StuckError('it has not ended')).toBeInstanceOf(CommitError);
  });
});
