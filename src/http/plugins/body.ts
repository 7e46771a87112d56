import { isUtf8 } from 'node:buffer';
import type { Readable } from 'node:stream';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { Clock } from '../../clock.js';
import { toIssues } from '../../ingest/validation.js';
import { parseInSteps, type FindExcess } from '../../json/large.js';
import { runInSlices } from '../../slices.js';
import { decodeUtf8 } from '../../json/utf8.js';
import { decodeBody, parseContentCodings, type Coding } from './content-codings.js';
import { continueBody } from './expect-continue.js';
import { oneMediaType } from './errors.js';
import { ProblemError } from './problems.js';

/**
 * Bodies of these media types arrive in the routes of this scope as text, decompressed; nothing is
 * parsed here. Any other content type, or none, is a 415 that names these.
 */
export function acceptTextBodies(
  app: FastifyInstance,
  { mediaTypes, limitBytes }: Omit<BodyRules, 'toBody'>,
): void {
  acceptBodies(app, { mediaTypes, limitBytes, toBody: toText });
}

/** The same as bytes, which are UTF-8: a long text is better read in parts. */
export function acceptUtf8Bodies(
  app: FastifyInstance,
  { mediaTypes, limitBytes }: Omit<BodyRules, 'toBody'>,
): void {
  acceptBodies(app, { mediaTypes, limitBytes, toBody: toUtf8 });
}

/** Small JSON bodies, parsed. An empty one is none: a POST that needs no body may still name a content type. */
export function acceptJsonBodies(
  app: FastifyInstance,
  { limitBytes, clock }: { readonly limitBytes: number; readonly clock: Clock },
): void {
  acceptBodies(app, {
    mediaTypes: ['application/json'],
    limitBytes,
    toBody: async (bytes) => {
      const text = toText(bytes);
      if (text === '') return undefined;
      const parsed = await runInSlices(parseInSteps(text, findJsonExcess), clock);
      if (!parsed.ok) throw new ProblemError('invalid', 'the body is not valid JSON');
      if (parsed.issues.length === 0) return parsed.value;
      throw new ProblemError('invalid', 'the body is not valid', {
        errors: toIssues(parsed.issues),
      });
    },
  });
}

/** The longest list that a route takes is one of ids. */
const maxMembers = 10_000;

const findJsonExcess: FindExcess = ({ count }) =>
  count > maxMembers ? `has more than ${maxMembers} members` : null;

/** What `acceptRawBodies` leaves in a request. */
export type RawBody = {
  /** As sent, decompressed: what a signature is over. */
  readonly bytes: Buffer;
  readonly text: string;
};

/** The start of a body that was read to find out whose it is. */
export type BegunBody = {
  readonly chunks: readonly Buffer[];
  /** False where more is left in the payload. */
  readonly isWhole: boolean;
};

const nothingRead: BegunBody = { chunks: [], isWhole: false };

type RawBodyRules = {
  readonly limitBytes: number;
  /** Admits the caller by what the body says, or throws. Null where nothing had to be read for that. */
  readonly begin: (request: FastifyRequest, payload: Readable) => Promise<BegunBody> | null;
};

/** Bodies of any content type, or none, as bytes and as text: some senders name the wrong type. */
export function acceptRawBodies(app: FastifyInstance, { limitBytes, begin }: RawBodyRules): void {
  app.removeAllContentTypeParsers();
  app.addContentTypeParser(
    '*',
    async (request: FastifyRequest, payload: Readable): Promise<RawBody> => {
      try {
        const begun = (await begin(request, payload)) ?? nothingRead;
        const bytes = await readBytes({ request, payload, begun }, limitBytes);
        return { bytes, text: toText(bytes) };
      } finally {
        // After a backpressure it may be stopped: the rest is dropped, and the connection goes on.
        payload.resume();
      }
    },
  );
}

type BodyRules = {
  readonly mediaTypes: readonly string[];
  /** After decompression. */
  readonly limitBytes: number;
  readonly toBody: (bytes: Buffer) => unknown;
};

function acceptBodies(app: FastifyInstance, { mediaTypes, limitBytes, toBody }: BodyRules): void {
  app.removeAllContentTypeParsers();
  app.addContentTypeParser([...mediaTypes], async (request: FastifyRequest, payload: Readable) =>
    toBody(await readUnicode({ request, payload, begun: nothingRead }, limitBytes)),
  );
  app.addContentTypeParser('*', (request, _payload, done) => {
    if (request.headers['content-length'] === '0') done(null);
    else done(toUnsupported(`send ${mediaTypes.join(' or ')}`));
  });
}

function toUnsupported(detail: string): ProblemError {
  return new ProblemError('unsupported-media-type', detail);
}

export function toTooLarge(limitBytes: number): ProblemError {
  return new ProblemError(
    'too-large',
    `a body may have ${limitBytes} bytes after decompression (BODY_LIMIT_BYTES)`,
  );
}

type Sent = {
  readonly request: FastifyRequest;
  readonly payload: Readable;
  readonly begun: BegunBody;
};

async function readUnicode(sent: Sent, limitBytes: number): Promise<Buffer> {
  checkMediaType(sent.request.headers['content-type'] ?? '');
  return readBytes(sent, limitBytes);
}

const quoted = /"(?:[^"\\]|\\.)*"?/g;
const charsetValue = /^\s*charset\s*=\s*"?([^"]*)"?\s*$/i;

/** Fastify has matched the media type itself; it reads past what is wrong with the parameters. */
function checkMediaType(contentType: string): void {
  if (contentType.replace(quoted, '').includes(',')) throw toUnsupported(oneMediaType);
  for (const parameter of contentType.match(/(?:"(?:[^"\\]|\\.)*"?|[^;"])+/g) ?? []) {
    const charset = charsetValue.exec(parameter)?.[1];
    if (charset !== undefined && !/^(?:utf-?8|us-ascii)$/i.test(charset.trim())) {
      throw toUnsupported('JSON is UTF-8 (RFC 8259)');
    }
  }
}

async function readBytes(sent: Sent, limitBytes: number): Promise<Buffer> {
  const { headers } = sent.request;
  const codings = parseContentCodings(headers['content-encoding']);
  if (Number(headers['content-length']) > limitBytes) throw toTooLarge(limitBytes);
  const received = await collect(sent, limitBytes);
  return codings.length === 0 ? received : expand(received, codings, limitBytes);
}

/** Throws where it is not UTF-8. */
const toText = (body: Buffer): string => decodeUtf8(toUtf8(body));

const byteOrderMark = Buffer.from('\ufeff');

/** Throws where it is not UTF-8. */
function toUtf8(body: Buffer): Buffer {
  if (!isUtf8(body)) throw new ProblemError('invalid', 'the body is not valid UTF-8');
  // Files written on Windows often start with a byte order mark; RFC 8259 (8.1) allows to ignore it.
  const isMarked = body.subarray(0, byteOrderMark.length).equals(byteOrderMark);
  return isMarked ? body.subarray(byteOrderMark.length) : body;
}

/** Reads on after a fault without keeping anything, so that the caller gets to see the answer. */
function collect({ request, payload, begun }: Sent, limitBytes: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let length = 0;
    const take = (chunk: Buffer): void => {
      length += chunk.length;
      if (length <= limitBytes) {
        chunks.push(chunk);
        return;
      }
      chunks.length = 0;
      reject(toTooLarge(limitBytes));
    };
    const end = (): void => {
      const [only] = chunks;
      resolve(chunks.length === 1 && only !== undefined ? only : Buffer.concat(chunks));
    };
    for (const chunk of begun.chunks) take(chunk);
    if (begun.isWhole) {
      end();
      return;
    }
    continueBody(request.raw);
    payload.on('data', take);
    payload.once('end', end);
    // The caller went away: nobody is left to read the answer.
    payload.once('error', () => reject(new ProblemError('invalid', 'the body broke off')));
    // It was stopped where a part of it was read before.
    payload.resume();
  });
}

async function expand(
  body: Buffer,
  codings: readonly Coding[],
  limitBytes: number,
): Promise<Buffer> {
  const decoded = await decodeBody(body, codings, { limitBytes });
  if (decoded.kind === 'whole') return decoded.bytes;
  switch (decoded.fault) {
    case 'too-large':
      throw toTooLarge(limitBytes);
    case 'corrupt':
      throw new ProblemError('invalid', 'the compressed body is corrupt or cut short');
    case 'trailing':
      throw new ProblemError('invalid', 'the body has data after the end of its compressed stream');
  }
}
