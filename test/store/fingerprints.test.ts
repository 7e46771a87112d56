import { describe, expect, it } from 'vitest';
import { emptyFingerprint, FingerprintIndex, toFingerprint } from '../../src/store/fingerprints.js';

const toNew = (key: string) => toFingerprint(key, emptyFingerprint());

describe('a fingerprint', () => {
  it('differs in each of its three words for keys that differ in one character', () => {
    const prints = Array.from({ length: 5000 }, (_, index) => toNew(`e${index}@example`));
    for (const word of [0, 1, 2]) {
      expect(new Set(prints.map((print) => print[word])).size).toBeGreaterThan(4990);
    }
  });

  it('has a first word whose low bits are spread over a table', () => {
    const slots = new Set(Array.from({ length: 4096 }, (_, index) => toNew(`${index}`)[0]! & 4095));
    // A random function fills 63 % of as many slots.
    expect(slots.size).toBeGreaterThan(2400);
  });

  it('depends on the order of the characters', () => {
    expect(toNew('ab')).not.toEqual(toNew('ba'));
    expect(toNew('ab')).toEqual(toNew('ab'));
  });
});

describe('FingerprintIndex', () => {
  it('distinguishes fingerprints that differ in any one word', () => {
    const index = new FingerprintIndex(8);
    const prints = [
      [1, 2, 3],
      [1, 2, 4],
      [1, 5, 3],
      [9, 2, 3],
    ].map((words) => Uint32Array.from(words));
    prints.forEach((print, place) => index.set(print, place));
    expect(prints.map((print) => index.find(print))).toEqual([0, 1, 2, 3]);
    index.delete(0);
    expect(prints.map((print) => index.find(print))).toEqual([undefined, 1, 2, 3]);
  });

  it('finds entries around the end of the table after one between them was deleted', () => {
    const index = new FingerprintIndex(4);
    // The table has eight slots, and all of these begin at the last one.
    const prints = [7, 15, 23, 31].map((word) => Uint32Array.from([word, 0, 0]));
    prints.forEach((print, place) => index.set(print, place));
    expect(index.find(Uint32Array.from([39, 0, 0]))).toBeUndefined();
    index.delete(1);
    expect(prints.map((print) => index.find(print))).toEqual([0, undefined, 2, 3]);
    index.delete(0);
    index.set(prints[1]!, 1);
    expect(prints.map((print) => index.find(print))).toEqual([undefined, 1, 2, 3]);
  });

  it('leaves an entry at its own slot when the entry before it is deleted', () => {
    const index = new FingerprintIndex(4);
    const prints = [6, 7, 14, 0].map((word) => Uint32Array.from([word, 0, 0]));
    prints.forEach((print, place) => index.set(print, place));
    index.delete(0);
    expect(prints.map((print) => index.find(print))).toEqual([undefined, 1, 2, 3]);
    index.delete(2);
    expect(prints.map((print) => index.find(print))).toEqual([undefined, 1, undefined, 3]);
  });
});
