import { brotliCompressSync, deflateRawSync, deflateSync, gzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { readBody } from '../../src/klaviyo/transport.js';

const words = Buffer.from('{"errors":[{"detail":"Ungültige Adresse"}]}');

async function* inParts(bytes: Buffer, size = 7): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += size) {
    await Promise.resolve();
    yield bytes.subarray(at, at + size);
  }
}

const read = (bytes: Buffer, coding: string | readonly string[] | undefined, maxBytes = 1000) =>
  readBody(inParts(bytes), { 'content-encoding': coding }, maxBytes);

const whole = { bodyText: words.toString(), isWhole: true };
const unreadable = { bodyText: '', isWhole: false };

describe('a response body', () => {
  it.each<[string, string | readonly string[] | undefined, Buffer]>([
    ['no coding', undefined, words],
    ['an empty list of codings', ' , ', words],
    ['identity', 'identity', words],
    ['gzip', 'gzip', gzipSync(words)],
    ['GZIP', ' GZip ', gzipSync(words)],
    ['x-gzip', 'x-gzip', gzipSync(words)],
    ['deflate', 'deflate', deflateSync(words)],
    ['deflate without its wrapper', 'deflate', deflateRawSync(words)],
    ['br', 'br', brotliCompressSync(words)],
    ['two codings', 'br, gzip', gzipSync(brotliCompressSync(words))],
    ['two headers', ['deflate', 'identity, br'], brotliCompressSync(deflateSync(words))],
    [
      'two members',
      'gzip',
      Buffer.concat([gzipSync(words.subarray(0, 9)), gzipSync(words.subarray(9))]),
    ],
  ])('in %s is read', async (_name, coding, bytes) => {
    expect(await read(bytes, coding)).toEqual(whole);
  });

  it.each(['gzip', 'br', 'deflate', 'zstd', 'gzip, gzip, gzip, gzip, gzip'])(
    'that is empty is also empty in %s',
    async (coding) => {
      expect(await read(Buffer.alloc(0), coding)).toEqual({ bodyText: '', isWhole: true });
    },
  );

  const gzip = gzipSync(words);
  const flipped = Buffer.from(gzip);
  flipped[15] = (flipped[15] ?? 0) ^ 0xff;

  it.each<[string, string, Buffer]>([
    ['an unknown coding', 'zstd', words],
    ['a name of Object', 'constructor', words],
    ['a coding it does not have', 'gzip', words],
    ['a second coding it does not have', 'br, gzip', gzip],
    ['a coding too many', 'gzip, gzip, gzip, gzip, gzip', gzip],
    ['a part of gzip', 'gzip', gzip.subarray(0, -9)],
    ['gzip without its checksum', 'gzip', gzip.subarray(0, -4)],
    ['damaged gzip', 'gzip', flipped],
    ['a part of brotli', 'br', brotliCompressSync(words).subarray(0, -3)],
    ['a part of deflate', 'deflate', deflateSync(words).subarray(0, -5)],
    ['one byte', 'deflate', Buffer.from([0x78])],
  ])('in %s cannot be read', async (_name, coding, bytes) => {
    expect(await read(bytes, coding)).toEqual(unreadable);
  });

  it('is cut off at the bound and marked as incomplete', async () => {
    expect(await read(words, undefined, words.length)).toEqual(whole);
    expect(await read(words, undefined, 10)).toEqual({ bodyText: '{"errors":', isWhole: false });
  });

  it('is also bounded after decompression, for each coding', async () => {
    const zeros = Buffer.alloc(1_000_000);
    expect(await read(gzipSync(zeros), 'gzip', 1_000_000)).toMatchObject({ isWhole: true });
    expect(await read(gzipSync(zeros), 'gzip', 999_999)).toEqual(unreadable);
    expect(await read(brotliCompressSync(gzipSync(zeros)), 'gzip, br', 10_000)).toEqual(unreadable);
    expect(await read(gzipSync(zeros), 'gzip', 100)).toEqual(unreadable);
  });

  it('rejects if the connection breaks', async () => {
    async function* broken(): AsyncGenerator<Buffer> {
      yield* inParts(gzip.subarray(0, 14));
      throw new Error('reset');
    }
    await expect(readBody(broken(), { 'content-encoding': 'gzip' }, 1000)).rejects.toThrow('reset');
  });
});
