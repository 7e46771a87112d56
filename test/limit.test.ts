import { expect, it } from 'vitest';
import { toShare } from '../src/limit.js';

it('a static share is a part of every limit, and never more', () => {
  const windows = [
    { limit: 10, windowMs: 1000 },
    { limit: 150, windowMs: 60_000 },
  ];
  const limits = {
    bucket: { perSecond: 75, burst: 75 },
    windows: { events: windows, profiles: windows.slice(0, 1), imports: [] },
  };
  expect(toShare(limits, 0.25)).toEqual({
    bucket: { perSecond: 18.75, burst: 18 },
    windows: {
      events: [
        { limit: 2, windowMs: 1000 },
        { limit: 37, windowMs: 60_000 },
      ],
      profiles: [{ limit: 2, windowMs: 1000 }],
      imports: [],
    },
  });
  // Less than one request in a window: one in a longer one.
  expect(toShare(limits, 0.05)).toMatchObject({
    bucket: { burst: 3 },
    windows: { profiles: [{ limit: 1, windowMs: 2000 }] },
  });
});
