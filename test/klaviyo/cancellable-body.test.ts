import { expect, it } from 'vitest';
import { toCancellableBody } from '../../src/klaviyo/transport.js';

it.each([0, 1, 511, 512, 513, 5000, 131_072, 131_585, 1_000_000, 5_000_000])(
  'a body of %i bytes leaves whole, its pieces large but for the last, which is small',
  (length) => {
    const body = Buffer.alloc(length, 'x');
    const pieces = [...toCancellableBody(body, () => true)];
    expect(Buffer.concat(pieces).equals(body)).toBe(true);
    expect(pieces.every(({ length: each }) => each > 0 && each <= 131_072)).toBe(true);
    expect(pieces.at(-1)?.length ?? 0).toBeLessThanOrEqual(512);
    // A stream buffers less than one piece, so each piece is waited for.
    const large = pieces.slice(0, -1).filter(({ length: each }) => each >= 65_536);
    if (length > 131_584) expect(large).toHaveLength(pieces.length - 1);
  },
);

it('stillOwned is called before each piece of a cancellable body, the last one included', () => {
  let requested = 0;
  const pieces = toCancellableBody(Buffer.alloc(300_000), () => ++requested < 4);
  expect(pieces.next().value).toHaveLength(99_830);
  expect([pieces.next().done, pieces.next().done]).toEqual([false, false]);
  expect(() => pieces.next()).toThrow('the lease was over');
  expect(requested).toBe(4);
});
