import { describe, expect, it } from 'vitest';
import { Fifo } from '../../src/store/fifo.js';

describe('Fifo', () => {
  it('returns elements in order, and undefined when it is empty', () => {
    const fifo = new Fifo<string>();
    expect(fifo.peek()).toBeUndefined();
    expect(fifo.shift()).toBeUndefined();
    fifo.push('a');
    fifo.push('b');
    expect(fifo.peek()).toBe('a');
    expect(fifo.shift()).toBe('a');
    fifo.push('c');
    expect(fifo.length).toBe(2);
    expect([fifo.shift(), fifo.shift(), fifo.shift()]).toEqual(['b', 'c', undefined]);
    expect(fifo.length).toBe(0);
  });

  it('keeps the order while it grows, shrinks and compacts itself', () => {
    const fifo = new Fifo<number>();
    let pushed = 0;
    let shifted = 0;
    for (let turn = 0; turn < 50; turn++) {
      for (let count = 0; count < 300; count++) fifo.push(pushed++);
      for (let count = 0; count < 290; count++) expect(fifo.shift()).toBe(shifted++);
      expect(fifo.length).toBe(pushed - shifted);
    }
    while (shifted < pushed) expect(fifo.shift()).toBe(shifted++);
    expect(fifo.shift()).toBeUndefined();
  });
});
