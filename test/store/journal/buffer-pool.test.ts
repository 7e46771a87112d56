import { expect, it } from 'vitest';
import { BufferPool } from '../../../src/store/journal/buffer-pool.js';

// Memory is compared with `===`: a failed `toBe` would print megabytes.

it('a buffer pool allocates parts of one memory, and other memory if that is used up', () => {
  const pool = new BufferPool();
  const [first, second] = [pool.allocate(1000), pool.allocate(2000)];
  expect([first.length, second.length]).toEqual([1000, 2000]);
  expect(first.buffer === second.buffer).toBe(true);
  expect(second.byteOffset).toBe(first.byteOffset + 1000);
  const beyond = pool.allocate(1024 * 1024);
  expect(beyond.length).toBe(1024 * 1024);
  expect(beyond.buffer === first.buffer).toBe(false);
  // Allocated memory keeps its content until the next group begins.
  first.fill(1);
  second.fill(2);
  beyond.fill(3);
  expect([first, second, beyond].map((each) => new Set(each).size)).toEqual([1, 1, 1]);
});

it('a buffer pool gives all of its memory to the first buffer of a group that needs it', () => {
  const pool = new BufferPool();
  const whole = pool.allocate(1024 * 1024);
  expect(whole.length).toBe(1024 * 1024);
  pool.beginGroup();
  expect(pool.allocate(1024 * 1024).buffer === whole.buffer).toBe(true);
});

it('a buffer pool grows once to what groups need, and is used again', () => {
  const pool = new BufferPool();
  pool.allocate(2_000_000);
  pool.beginGroup();
  const first = pool.allocate(2_000_000);
  pool.beginGroup();
  const again = pool.allocate(2_000_000);
  expect(again.buffer === first.buffer).toBe(true);
  expect(again.byteOffset).toBe(first.byteOffset);
  expect(pool.allocate(5_000_000).buffer === first.buffer).toBe(false);
  pool.beginGroup();
  expect(pool.allocate(10).buffer === first.buffer).toBe(true);
});
