import { buffer } from 'node:stream/consumers';
import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decodeText } from '../../src/import/decode.js';
import { DamagedInput } from '../../src/import/import-error.js';
import { detectDelimiter } from '../../src/import/rows.js';
import { toChunks } from './fixture.js';

// eslint-disable-next-line @typescript-eslint/require-await -- a source of chunks that has them all
async function* toSource(chunks: readonly Buffer[]): AsyncGenerator<Buffer, void> {
  yield* chunks;
}

const decoded = async (bytes: Buffer, encoding: string | null = null, cuts: number[] = []) =>
  (await buffer(decodeText(toSource(toChunks(bytes, cuts)), encoding))).toString('utf8');

const text = 'email;name\nada@klaviyo-demo.com;Äda 😀\n';

const utf16le = (value: string): Buffer => Buffer.from(value, 'utf16le');

describe('an input of an import', () => {
  it.each<[string, Buffer, string | null]>([
    ['UTF-8', Buffer.from(text), null],
    ['UTF-16LE with a byte order mark', utf16le(`\ufeff${text}`), null],
    ['UTF-16BE with a byte order mark', utf16le(`\ufeff${text}`).swap16(), null],
    ['UTF-16LE without a byte order mark but with --encoding', utf16le(text), 'utf-16le'],
    ['gzip', gzipSync(text), null],
    [
      'gzip of several members',
      Buffer.concat([gzipSync(text.slice(0, 9)), gzipSync(''), gzipSync(text.slice(9))]),
      null,
    ],
    ['gzip with zeros after it', Buffer.concat([gzipSync(text), Buffer.alloc(500)]), null],
    ['gzip of UTF-16', gzipSync(utf16le(`\ufeff${text}`)), null],
  ])(
    'of %s is decoded to its text, however it is split into chunks',
    async (_, bytes, encoding) => {
      await fc.assert(
        fc.asyncProperty(fc.array(fc.nat(), { maxLength: 8 }), async (cuts) => {
          expect((await decoded(bytes, encoding, cuts)).replace('\ufeff', '')).toBe(text);
        }),
        { numRuns: 20 },
      );
    },
  );

  it('of windows-1252 is decoded if the option says so', async () => {
    expect(await decoded(Buffer.from('a;\xc4\x80\n', 'latin1'), 'windows-1252')).toBe('a;Ä€\n');
  });

  it('may be empty', async () => {
    expect(await decoded(Buffer.alloc(0))).toBe('');
    expect(await decoded(gzipSync(''))).toBe('');
  });

  it('of truncated gzip is reported as damaged, wherever it ends', async () => {
    const bytes = gzipSync(text);
    for (let length = 2; length < bytes.length; length++) {
      const cut = decoded(bytes.subarray(0, length));
      await expect(cut).rejects.toThrow('the gzip file is truncated');
      await expect(cut).rejects.toBeInstanceOf(DamagedInput);
    }
  });

  it.each<[string, Buffer, string | null, string]>([
    ['gzip with a wrong checksum', flip(gzipSync(text), -6), null, 'the gzip file is damaged'],
    [
      'gzip with text after it',
      Buffer.concat([gzipSync(text), Buffer.from(text)]),
      null,
      'the gzip file is damaged',
    ],
    ['half a character', utf16le(`\ufeff${text}`).subarray(0, -1), null, 'is not valid utf-16le'],
    ['half a pair', utf16le('\ufeff\ud83d;'), null, 'is not valid utf-16le'],
    ['another encoding', Buffer.from([0xe4, 0x28]), 'shift_jis', 'is not valid shift_jis'],
  ])('of %s is damaged', async (_, bytes, encoding, words) => {
    await expect(decoded(bytes, encoding)).rejects.toThrow(words);
  });
});

function flip(bytes: Buffer, at: number): Buffer {
  const copy = Buffer.from(bytes);
  copy.writeUInt8(copy.readUInt8(copy.length + at) ^ 1, copy.length + at);
  return copy;
}

describe('the delimiter of a CSV header', () => {
  it.each([
    ['a,b\r\n', ','],
    ['a;b', ';'],
    ['a\tb\n', '\t'],
    ['a|b', '|'],
    ['a', ','],
    ['"a;x",b', ','],
    ['"a ""x, y""";b', ';'],
    ['a|b,c', ','],
    ['sep=;\r\n', ';'],
    ['"sep=\t"', '\t'],
    ['', ','],
  ])('of %j is detected as %j', (line, delimiter) => {
    expect(detectDelimiter(line)).toBe(delimiter);
  });

  it('must be given if it is ambiguous', () => {
    expect(() => detectDelimiter('Amount, net;Email')).toThrow(
      'the header has "," and ";": specify one of them with --delimiter',
    );
  });
});
