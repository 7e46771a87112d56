import { isUtf8 } from 'node:buffer';
import type { Readable } from 'node:stream';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { Clock } from '../../clock.js';
import { toIssues } from '../../ingest/validation.js';
import { decodeUtf8 } from '../../json/json.js';
import { type FindExcess, parseInSteps } from '../../json/large.js';
import { runInSlices } from '../../slices.js';
import { type Coding, decodeBody, parseContentCodings } from './content-codings.js';
import { continueBody } from './expect-continue.js';
import { oneMediaType, ProblemError } from './problems.js';

/**
 * Reads bodies: checks the media type, collects the bytes within the limit, decompresses them and checks
 * that they are UTF-8. `acceptTextBodies` gives the routes of a scope the body as text and parses nothing.
 * Any other content type, or none, is a 415 that names the accepted media types.
 */
export function acceptTextBodies(
  app: FastifyInstance,
  { mediaTypes, limitBytes }: Omit<BodyRules, 'toBody'>,
): void {
  acceptBodies(app, { mediaTypes, limitBytes, toBody: toText });
}

/** Gives the routes of a scope the body as UTF-8 bytes, because a long text is read in parts. */
export function acceptUtf8Bodies(
  app: FastifyInstance,
  { mediaTypes, limitBytes }: Omit<BodyRules, 'toBody'>,
): void {
  acceptBodies(app, { mediaTypes, limitBytes, toBody: toUtf8 });
}

/** Gives the routes of a scope small JSON bodies, parsed. An empty body counts as absent: a POST without a body may still have a content type. */
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

/** Bound of the members of a list. The longest list that a route accepts is a list of ids. */
const maxMembers = 10_000;

const findJsonExcess: FindExcess = ({ count }) =>
  count > maxMembers ? `has more than ${maxMembers} members` : null;

/** The body of a request in a scope with `acceptRawBodies`. */
export type RawBody = {
  /** The decompressed bytes, which a signature covers. */
  readonly bytes: Buffer;
  readonly text: string;
};

/** The start of a body, read to identify the caller. */
export type BegunBody = {
  readonly chunks: readonly Buffer[];
  /** False if the payload has more bytes. */
  readonly isWhole: boolean;
};

const nothingRead: BegunBody = { chunks: [], isWhole: false };

type RawBodyRules = {
  readonly limitBytes: number;
  /** Reads the start of the body to admit the caller, or throws. Returns null if the caller is admitted without the body. */
  readonly begin: (request: FastifyRequest, payload: Readable) => Promise<BegunBody> | null;
};

/** Gives the routes of a scope bodies of any content type, or none, as bytes and as text: some senders send a wrong type. */
export function acceptRawBodies(app: FastifyInstance, { limitBytes, begin }: RawBodyRules): void {
  app.removeAllContentTypeParsers();
  app.addContentTypeParser(
    '*',
    async (request: FastifyRequest, payload: Readable): Promise<RawBody> => {
      try {
        const begun = (await begin(request, payload)) ?? nothingRead;
        const bytes = await readRequestBytes({ request, payload, begun }, limitBytes);
        return { bytes, text: toText(bytes) };
      } finally {
        // A rejected body may be paused: the rest is read and dropped, and the connection stays open.
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
  app.addContentTypeParser([...mediaTypes], async (request: FastifyRequest, payload: Readable) => {
    checkMediaType(request.headers['content-type'] ?? '');
    return toBody(await readRequestBytes({ request, payload, begun: nothingRead }, limitBytes));
  });
  app.addContentTypeParser('*', (request, _payload, done) => {
    if (request.headers['content-length'] === '0') done(null);
    else done(toUnsupportedMediaType(`send ${mediaTypes.join(' or ')}`));
  });
}

function toUnsupportedMediaType(detail: string): ProblemError {
  return new ProblemError('unsupported-media-type', detail);
}

export function createTooLargeProblem(limitBytes: number): ProblemError {
  return new ProblemError(
    'too-large',
    `a body may have ${limitBytes} bytes after decompression (BODY_LIMIT_BYTES)`,
  );
}

/** A request whose body is to be read. */
type Incoming = {
  readonly request: FastifyRequest;
  readonly payload: Readable;
  readonly begun: BegunBody;
};

const quoted = /"(?:[^"\\]|\\.)*"?/g;
const charsetValue = /^\s*charset\s*=\s*"?([^"]*)"?\s*$/i;

/** Checks the parameters of a media type. Fastify has matched the type itself, and ignores errors in the parameters. */
function checkMediaType(contentType: string): void {
  if (contentType.replace(quoted, '').includes(',')) throw toUnsupportedMediaType(oneMediaType);
  for (const parameter of contentType.match(/(?:"(?:[^"\\]|\\.)*"?|[^;"])+/g) ?? []) {
    const charset = charsetValue.exec(parameter)?.[1];
    if (charset !== undefined && !/^(?:utf-?8|us-ascii)$/i.test(charset.trim())) {
      throw toUnsupportedMediaType('JSON is UTF-8 (RFC 8259)');
    }
  }
}

async function readRequestBytes(incoming: Incoming, limitBytes: number): Promise<Buffer> {
  const { headers } = incoming.request;
  const codings = parseContentCodings(headers['content-encoding']);
  if (Number(headers['content-length']) > limitBytes) throw createTooLargeProblem(limitBytes);
  const received = await collectBody(incoming, limitBytes);
  return codings.length === 0 ? received : expand(received, codings, limitBytes);
}

/** Throws if the body is not UTF-8. */
const toText = (body: Buffer): string => decodeUtf8(toUtf8(body));

const byteOrderMark = Buffer.from('\ufeff');

/** Throws if the body is not UTF-8. */
function toUtf8(body: Buffer): Buffer {
  if (!isUtf8(body)) throw new ProblemError('invalid', 'the body is not valid UTF-8');
  // Files written on Windows often start with a byte order mark; RFC 8259 (8.1) allows to ignore it.
  const isMarked = body.subarray(0, byteOrderMark.length).equals(byteOrderMark);
  return isMarked ? body.subarray(byteOrderMark.length) : body;
}

/** Collects a body. After an error it reads on and drops the bytes, so that the caller receives the response. */
function collectBody({ request, payload, begun }: Incoming, limitBytes: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let length = 0;
    const onData = (chunk: Buffer): void => {
      length += chunk.length;
      if (length <= limitBytes) {
        chunks.push(chunk);
        return;
      }
      chunks.length = 0;
      reject(createTooLargeProblem(limitBytes));
    };
    const end = (): void => {
      const [only] = chunks;
      resolve(chunks.length === 1 && only !== undefined ? only : Buffer.concat(chunks));
    };
    for (const chunk of begun.chunks) onData(chunk);
    if (begun.isWhole) {
      end();
      return;
    }
    continueBody(request.raw);
    payload.on('data', onData);
    payload.once('end', end);
    // The caller closed the connection and reads no response.
    payload.once('error', () => reject(new ProblemError('invalid', 'the body broke off')));
    // The stream is paused if a part of it was read before.
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
  switch (decoded.failure) {
    case 'too-large':
      throw createTooLargeProblem(limitBytes);
    case 'corrupt':
      throw new ProblemError('invalid', 'the compressed body is corrupt or cut short');
    case 'trailing':
      throw new ProblemError('invalid', 'the body has data after the end of its compressed stream');
  }
}
