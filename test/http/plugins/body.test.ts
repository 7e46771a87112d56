import { request } from 'node:http';
import { once } from 'node:events';
import { brotliCompressSync, deflateRawSync, deflateSync, gzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { problemOf, readResponse, startServer } from '../harness.js';

const json = { 'content-type': 'application/json' };
const limitBytes = 10_000;
const body = JSON.stringify({ event_name: 'Größe – 👟'.repeat(20) });

const encodings: readonly (readonly [string, (text: string) => Buffer])[] = [
  ['gzip', (text) => gzipSync(text)],
  ['x-gzip', (text) => gzipSync(text)],
  ['GZIP', (text) => gzipSync(text)],
  ['deflate', (text) => deflateSync(text)],
  ['deflate', (text) => deflateRawSync(text)],
  ['br', (text) => brotliCompressSync(text)],
  ['identity', (text) => Buffer.from(text)],
];

describe.each(encodings)('a body encoded as %s', (encoding, compress) => {
  const headers = { ...json, 'content-encoding': encoding };

  it.each(['/v1/events', '/v1/profiles/batch'])(
    'reaches accept as its text at %s',
    async (path) => {
      const server = await startServer();
      const response = await server.call('POST', path, { headers, body: compress(body) });
      expect(response.status).toBe(202);
      expect(server.accepted[0]?.body).toBe(body);
    },
  );

  it('may be as long as BODY_LIMIT_BYTES after decompression and not longer', async () => {
    const server = await startServer();
    const post = (length: number) =>
      server.call('POST', '/v1/events', { headers, body: compress('a'.repeat(length)) });
    expect((await post(limitBytes)).status).toBe(202);
    const response = await post(limitBytes + 1);
    expect([response.status, problemOf(response)]).toEqual([413, 'too-large']);
    expect(response.json).toMatchObject({
      detail: 'a body may have 10000 bytes after decompression (BODY_LIMIT_BYTES)',
    });
    expect(server.accepted).toHaveLength(1);
  });
});

const compressed = encodings.filter(([encoding]) => encoding !== 'identity');

describe.each(compressed)('a compressed body (%s)', (encoding, compress) => {
  const headers = { ...json, 'content-encoding': encoding };

  it.each([
    ['cut short', compress(body).subarray(0, -10)],
    ['garbage', Buffer.from('no such thing')],
    ['empty', Buffer.alloc(0)],
  ])('that is %s gets 400', async (_what, bytes) => {
    const server = await startServer();
    const response = await server.call('POST', '/v1/events', { headers, body: bytes });
    expect([response.status, problemOf(response)]).toEqual([400, 'invalid']);
    expect(server.accepted).toEqual([]);
  });
});

const part = (from: number) => `{"n":${from}}\n{"n":${from + 1}}\n`;
const ndjson = { 'content-type': 'application/x-ndjson' };
const damaged = (bytes: Buffer, at: number) => {
  const copy = Buffer.from(bytes);
  copy[at] = (copy[at] ?? 0) ^ 1;
  return copy;
};

describe('data after the first compressed stream of a body', () => {
  it.each([
    ['two members of gzip', 'gzip', [gzipSync(part(0)), gzipSync(part(2))]],
    ['an empty member between two', 'gzip', [gzipSync(part(0)), gzipSync(''), gzipSync(part(2))]],
  ])('is read: %s', async (_what, encoding, parts) => {
    const server = await startServer();
    const headers = { ...ndjson, 'content-encoding': encoding };
    const sent = Buffer.concat(parts);
    expect((await server.call('POST', '/v1/events/batch', { headers, body: sent })).status).toBe(
      202,
    );
    expect(server.accepted[0]?.body).toBe(part(0) + part(2));
  });

  it('is ignored if it is zero padding of gzip', async () => {
    const server = await startServer();
    const headers = { ...ndjson, 'content-encoding': 'gzip' };
    const sent = Buffer.concat([gzipSync(part(0)), Buffer.alloc(512)]);
    expect((await server.call('POST', '/v1/events/batch', { headers, body: sent })).status).toBe(
      202,
    );
    expect(server.accepted[0]?.body).toBe(part(0));
  });

  it.each([
    ['plain lines behind gzip', 'gzip', gzipSync(part(0)), Buffer.from(part(2))],
    ['one byte behind gzip', 'gzip', gzipSync(part(0)), Buffer.from('x')],
    ['the start of a magic number', 'gzip', gzipSync(part(0)), Buffer.from([0x1f])],
    ['a member with a damaged magic number', 'gzip', gzipSync(part(0)), damaged(gzipSync('a'), 1)],
    ['a member with a damaged checksum', 'gzip', gzipSync(part(0)), damaged(gzipSync('abc'), 15)],
    ['a member without its trailer', 'gzip', gzipSync(part(0)), gzipSync('a').subarray(0, -4)],
    [
      'zeros and a member',
      'gzip',
      gzipSync(part(0)),
      Buffer.concat([Buffer.alloc(512), gzipSync(part(2))]),
    ],
    [
      'zeros and a plain line',
      'gzip',
      gzipSync(part(0)),
      Buffer.concat([Buffer.alloc(3), Buffer.from('{}')]),
    ],
    ['a second stream of zlib', 'deflate', deflateSync(part(0)), deflateSync(part(2))],
    ['a second stream of raw deflate', 'deflate', deflateRawSync(part(0)), deflateRawSync(part(2))],
    ['zeros behind zlib', 'deflate', deflateSync(part(0)), Buffer.alloc(4)],
    ['a second stream of brotli', 'br', brotliCompressSync(part(0)), brotliCompressSync(part(2))],
    ['plain lines behind brotli', 'br', brotliCompressSync(part(0)), Buffer.from(part(2))],
  ])('gets 400 if it cannot be read: %s', async (_what, encoding, first, second) => {
    const server = await startServer();
    const headers = { ...ndjson, 'content-encoding': encoding };
    const sent = Buffer.concat([first, second]);
    const response = await server.call('POST', '/v1/events/batch', { headers, body: sent });
    expect([response.status, problemOf(response)]).toEqual([400, 'invalid']);
    expect(response.json).toMatchObject({
      detail: expect.stringMatching(
        /^the (?:compressed body is corrupt or cut short|body has data after the end of its compressed stream)$/,
      ) as string,
    });
    expect(server.accepted).toEqual([]);
  });

  it('is rejected at any distance from the end of the stream', async () => {
    const server = await startServer({ config: { BODY_LIMIT_BYTES: 1_000_000 } });
    const headers = { ...ndjson, 'content-encoding': 'gzip' };
    const far = Buffer.concat([gzipSync(part(0)), Buffer.alloc(300_000), Buffer.from(part(2))]);
    const response = await server.call('POST', '/v1/events/batch', { headers, body: far });
    expect(response.status).toBe(400);
  });
});

describe('the content codings of a body', () => {
  it.each([
    ['', body],
    [' , ', body],
    ['identity, gzip', gzipSync(body)],
    ['gzip,identity', gzipSync(body)],
    ['gzip, gzip', gzipSync(gzipSync(body))],
    ['GZip ,\tBR', brotliCompressSync(gzipSync(body))],
    ['deflate, x-gzip', gzipSync(deflateSync(body))],
  ])('are decoded from the last to the first: "%s"', async (encoding, sent) => {
    const server = await startServer();
    const headers = { ...json, 'content-encoding': encoding };
    expect((await server.call('POST', '/v1/events', { headers, body: sent })).status).toBe(202);
    expect(server.accepted[0]?.body).toBe(body);
  });

  it('are limited to two', async () => {
    const server = await startServer();
    const headers = { ...json, 'content-encoding': 'gzip, gzip, gzip' };
    const sent = gzipSync(gzipSync(gzipSync(body)));
    const response = await server.call('POST', '/v1/events', { headers, body: sent });
    expect([response.status, problemOf(response)]).toEqual([415, 'unsupported-media-type']);
    expect(response.json).toMatchObject({ detail: 'a body may have 2 content codings, not 3' });
  });

  it('are each bounded by the limit, so that a nested decompression bomb does not expand', async () => {
    const server = await startServer();
    const headers = { ...json, 'content-encoding': 'gzip, gzip' };
    const inner = gzipSync(Buffer.alloc(100_000_000));
    expect(inner.length).toBeGreaterThan(limitBytes);
    const post = (sent: Buffer) => server.call('POST', '/v1/events', { headers, body: sent });
    expect((await post(gzipSync(inner))).status).toBe(413);
    expect((await post(gzipSync(gzipSync(Buffer.alloc(8_000_000))))).status).toBe(413);
  });

  it.each([
    [
      'data behind the inner stream',
      gzipSync(Buffer.concat([gzipSync(part(0)), Buffer.from('x')])),
    ],
    [
      'data behind the outer stream',
      Buffer.concat([gzipSync(gzipSync(part(0))), Buffer.from('x')]),
    ],
    ['an outer stream cut short', gzipSync(gzipSync(part(0))).subarray(0, -4)],
  ])('get 400 with %s', async (_what, sent) => {
    const server = await startServer();
    const headers = { ...json, 'content-encoding': 'gzip, gzip' };
    expect((await server.call('POST', '/v1/events', { headers, body: sent })).status).toBe(400);
    expect(server.accepted).toEqual([]);
  });
});

describe('a body', () => {
  it('that would expand to a gigabyte is rejected as soon as it exceeds the limit', async () => {
    const bomb = gzipSync(Buffer.alloc(8_000_000));
    expect(bomb.length).toBeLessThan(limitBytes);
    const server = await startServer();
    const headers = { ...json, 'content-encoding': 'gzip' };
    expect((await server.call('POST', '/v1/events', { headers, body: bomb })).status).toBe(413);
  });

  it('with a Content-Length above the limit is rejected before it is sent', async () => {
    const server = await startServer();
    const sent = request(`${server.url}/v1/events`, {
      method: 'POST',
      headers: { ...json, 'content-length': limitBytes + 1 },
    });
    sent.flushHeaders();
    const response = await readResponse(sent);
    expect([response.status, problemOf(response)]).toEqual([413, 'too-large']);
    sent.destroy();
  });

  it('of unknown length is rejected when it exceeds the limit, and the connection stays open', async () => {
    const server = await startServer();
    // Far more than socket buffers hold: closing early would reset the connection, answer and all.
    const chunk = `100000\r\n${'a'.repeat(0x100000)}\r\n`;
    const responses = await server.raw(
      `POST /v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n` +
        `Transfer-Encoding: chunked\r\n\r\n${chunk.repeat(20)}0\r\n\r\n` +
        'GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n',
    );
    expect(responses.match(/HTTP\/1\.1 \d+/g)).toEqual(['HTTP/1.1 413', 'HTTP/1.1 200']);
    expect(responses).toContain('a body may have 10000 bytes');
  });

  it('in an unknown encoding gets 415 with the supported encodings', async () => {
    const server = await startServer();
    for (const encoding of ['zstd', 'gzip, zstd', 'toString', 'none', 'utf-8', 'aws-chunked']) {
      const headers = { ...json, 'content-encoding': encoding };
      const response = await server.call('POST', '/v1/events', { headers, body });
      expect([response.status, problemOf(response)]).toEqual([415, 'unsupported-media-type']);
      expect(response.json).toMatchObject({ detail: 'encode with gzip, deflate, br or identity' });
      expect(response.headers['accept-encoding']).toBe('gzip, deflate, br, identity');
    }
  });

  it.each([
    ['a lone continuation byte', Buffer.from([0x22, 0x80, 0x22])],
    ['an overlong form', Buffer.from([0x22, 0xc0, 0xaf, 0x22])],
    ['a surrogate', Buffer.from([0x22, 0xed, 0xa0, 0x80, 0x22])],
    ['Latin-1', Buffer.from('"Größe"', 'latin1')],
  ])('that is not UTF-8 (%s) gets 400', async (_what, bytes) => {
    const server = await startServer();
    const response = await server.call('POST', '/v1/events', { headers: json, body: bytes });
    expect(response.status).toBe(400);
    expect(response.json).toMatchObject({ detail: 'the body is not valid UTF-8' });
    expect(server.accepted).toEqual([]);
  });

  it('loses its byte order mark', async () => {
    const server = await startServer();
    await server.call('POST', '/v1/events', { headers: json, body: '\ufeff{}' });
    expect(server.accepted[0]?.body).toBe('{}');
  });

  it.each([
    'text/plain',
    'application/vnd.api+json',
    'application/xml',
    'application/x-www-form-urlencoded',
    'nonsense',
    '',
  ])('of the content type "%s" gets 415', async (type) => {
    const server = await startServer();
    const headers = { 'content-type': type };
    for (const path of ['/v1/events', '/v1/events/batch']) {
      const response = await server.call('POST', path, { headers, body: '{}' });
      expect([response.status, problemOf(response)]).toEqual([415, 'unsupported-media-type']);
    }
    expect(server.accepted).toEqual([]);
  });

  it('without a content type gets 415 with the accepted types', async () => {
    const server = await startServer();
    const response = await server.call('POST', '/v1/events/batch', { body: '{}' });
    expect(response.status).toBe(415);
    expect(response.json).toMatchObject({
      detail: 'send application/json or application/x-ndjson or application/jsonl',
    });
  });

  it.each([
    ['utf-8', 202],
    ['UTF8', 202],
    ['"utf-8"', 202],
    ['us-ascii', 202],
    ['"utf-16"', 415],
    ['utf-8; charset=utf-16', 415],
    ['utf-16', 415],
    ['iso-8859-1', 415],
  ])('of charset %s gets %d', async (charset, status) => {
    const server = await startServer();
    const headers = { 'content-type': `application/json; charset=${charset}` };
    const response = await server.call('POST', '/v1/events', { headers, body: '{}' });
    expect(response.status).toBe(status);
  });

  it.each([
    'application/json;',
    'application/json; charset=utf-8;',
    'Application/JSON ;Charset="UTF-8"',
    'application/json; odata=verbose; a="x;charset=latin1"',
    'application/json; a="x, y"',
    'application/json\t; charset=utf-8',
  ])('of the content type %j is accepted', async (type) => {
    const server = await startServer();
    const headers = { 'content-type': type };
    expect((await server.call('POST', '/v1/events', { headers, body: '{}' })).status).toBe(202);
  });

  it.each([
    'application/json, application/json',
    'application/json; charset=utf-8, application/json',
    'application/json; a="x", text/plain',
  ])('of the content type %j, which is not one media type, gets 415', async (type) => {
    const server = await startServer();
    const headers = { 'content-type': type };
    const response = await server.call('POST', '/v1/events', { headers, body: '{}' });
    expect([response.status, problemOf(response)]).toEqual([415, 'unsupported-media-type']);
    expect(response.json).toMatchObject({
      detail: 'the Content-Type is not one media type (RFC 9110, 8.3)',
    });
  });

  it('that breaks off does not affect the relay', async () => {
    const server = await startServer();
    const sent = request(`${server.url}/v1/events`, {
      method: 'POST',
      headers: { ...json, 'content-length': 100 },
    });
    const failed = once(sent, 'error');
    sent.write('{"event', () => sent.destroy(new Error('gone')));
    await failed;
    expect((await server.post('/v1/events', {})).status).toBe(202);
    expect(server.accepted).toHaveLength(1);
  });
});
