import { expect, it } from 'vitest';
import { BufferPool } from '../../../src/store/journal/buffer-pool.js';

it('gives parts of one memory, the same to each group, and other memory beyond it', () => {
  const scratch = new BufferPool();
  const [first, second] = [scratch.allocate(1000), scratch.allocate(2000)];
  expect([first.length, second.length]).toEqual([1000, 2000]);
  expect(first.buffer).toBe(second.buffer);
  expect(second.byteOffset).toBe(first.byteOffset + 1000);
  const beyond = scratch.allocate(1024 * 1024);
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
  scratch.allocate(2_000_000);
  scratch.beginGroup();
  const first = scratch.allocate(2_000_000);
  scratch.beginGroup();
  const again = scratch.allocate(2_000_000);
  expect(again.buffer).toBe(first.buffer);
  expect(again.byteOffset).toBe(first.byteOffset);
  expect(scratch.allocate(5_000_000).buffer).not.toBe(first.buffer);
  scratch.beginGroup();
  expect(scratch.allocate(10).buffer).toBe(first.buffer);
});
