import { describe, expect, it } from 'vitest';
import { Releasers } from '../../src/app/releasers.js';

const inTime = new AbortController().signal;

describe('releasers', () => {
  it('stop the started parts in reverse order, one after the other', async () => {
    const started = new Releasers();
    const seen: string[] = [];
    for (const name of ['store', 'client', 'server']) {
      started.add(async () => {
        seen.push(`${name} stops`);
        await Promise.resolve();
        seen.push(`${name} has stopped`);
      });
    }
    await started.release(inTime);
    expect(seen).toEqual(
      ['server', 'client', 'store'].flatMap((name) => [`${name} stops`, `${name} has stopped`]),
    );
  });

  it('stop the other parts if one fails, and reject with the first failure', async () => {
    const started = new Releasers();
    const seen: string[] = [];
    started.add(() => seen.push('store'));
    started.add(() => Promise.reject(new Error('client')));
    started.add(() => {
      throw new Error('server');
    });
    await expect(started.release(inTime)).rejects.toThrow('server');
    expect(seen).toEqual(['store']);
  });

  it('stop each part once if they are called several times', async () => {
    const started = new Releasers();
    let stops = 0;
    started.add(() => stops++);
    await Promise.all([started.release(inTime), started.release(inTime)]);
    await started.release(inTime);
    expect(stops).toBe(1);
  });
});
