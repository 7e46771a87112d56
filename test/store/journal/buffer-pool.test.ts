import { expect, it } from 'vitest';
import { BufferPool } from '../../../src/store/journal/buffer-pool.js';

it('gives parts of one memory, the same to each group, and other memory beyond it', () => {
  const scratch = new BufferPool();
  const [first, second] = [scratch.take(1000), scratch.take(2000)];
  expect([first.length, second.length]).toEqual([1000, 2000]);
  expect(first.buffer).toBe(second.buffer);
  expect(second.byteOffset).toBe(first.byteOffset + 1000);
  const beyond = scratch.take(1024 * 1024);
  expect(beyond.length).toBe(1024 * 1024);
  expect(beyond.buffer).not.toBe(first.buffer);
  // What has been given stays whole while its group lasts.
  first.fill(1);
  second.fill(2);
  beyond.fill(3);
  expect([first, second, beyond].map((each) => new Set(each).size)).toEqual([1, 1, 1]);
});

it('grows once to what groups take, and is used again', () => {
  const scratch = new BufferPool();
  scratch.take(2_000_000);
  scratch.beginGroup();
  const first = scratch.take(2_000_000);
  scratch.beginGroup();
  const again = scratch.take(2_000_000);
  expect(again.buffer).toBe(first.buffer);
  expect(again.byteOffset).toBe(first.byteOffset);
  expect(scratch.take(5_000_000).buffer).not.toBe(first.buffer);
  scratch.beginGroup();
  expect(scratch.take(10).buffer).toBe(first.buffer);
});
