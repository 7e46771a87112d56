import type { Readable } from 'node:stream';
import type {
  FastifyInstance,
  FastifyRequest,
  onRequestHookHandler,
  preValidationHookHandler,
} from 'fastify';
import { readPixelCall } from '../../../sources/segment/pixel.js';
import {
  admitCaller,
  dismissCaller,
  isAdmitted,
  toPresentedKey,
  type Keyring,
} from '../../plugins/auth.js';
import type { BegunBody } from '../../plugins/body.js';
import { decodeBody, parseContentCodings } from '../../plugins/content-codings.js';
import { ProblemError } from '../../plugins/problems.js';
import type { Unadmitted } from '../../plugins/unadmitted.js';

/**
 * Checks the write key, which is an ingest key, in the headers and the query. Most SDKs send it as the
 * user of Basic authentication; then no other place counts. Else it may be in Bearer, X-API-Key or the
 * query (beacons and pixels). analytics-python sends it in the body alone, so a request without a key in
 * its headers is not rejected before its body is read.
 */
export function admitByHeaders(keyring: Keyring): onRequestHookHandler {
  return (request, _reply, done) => {
    if (keyring.isOpen) {
      done();
      return;
    }
    const user = readBasicUser(request);
    const presented = user === null ? listPresentedKeys(request) : [user];
    const caller =
      presented.map((key) => keyring.identify(key)).find((each) => each !== null) ?? null;
    if (caller !== null) admitCaller(request, caller);
    done(user !== null && caller === null ? createWriteKeyProblem() : undefined);
  };
}

/**
 * A batch of Segment has at most 500 KB, and analytics-python writes the key after it. A body that
 * announces at most `wholeBytes` is searched as a whole. Of a longer body, or one of unknown length, the
 * start is searched.
 */
const wholeBytes = 524_288;
const startBytes = 16_384;

/** Admits a caller without a key in its headers by the key in its body, within the bounds above. */
export function admitByStart(
  keyring: Keyring,
  unadmitted: Unadmitted,
): (request: FastifyRequest, payload: Readable) => Promise<BegunBody> | null {
  return (request, payload) =>
    isAdmitted(request, keyring) ? null : readBodyStart({ request, payload, keyring, unadmitted });
}

async function readBodyStart({
  request,
  payload,
  keyring,
  unadmitted,
}: {
  readonly request: FastifyRequest;
  readonly payload: Readable;
  readonly keyring: Keyring;
  readonly unadmitted: Unadmitted;
}): Promise<BegunBody> {
  const { headers } = request;
  const codings = parseContentCodings(headers['content-encoding']);
  const announced = Number(headers['content-length']);
  const isShort = announced <= wholeBytes;
  const body = await unadmitted.readBody(request, payload, isShort ? announced : startBytes);
  try {
    const limitBytes = isShort ? wholeBytes : startBytes;
    const { bytes } = await unadmitted.runAlone(() =>
      decodeBody(Buffer.concat(body.chunks), codings, { limitBytes, isStart: true }),
    );
    for (const writeKey of findWriteKeys(bytes.subarray(0, limitBytes))) {
      const caller = keyring.identify(writeKey);
      if (caller === null) continue;
      admitCaller(request, caller);
      request.setDecorator(keyInBody, true);
      return body;
    }
    throw createWriteKeyProblem();
  } finally {
    body.release();
  }
}

const keyInBody = 'keyInBody';

/** Must be called on the scope that uses `admitByStart`. */
export function decorateKeys(scope: FastifyInstance): void {
  scope.decorateRequest(keyInBody, false);
}

const keyName = Buffer.from('"writeKey"');
/** Bounds the keys that are checked, because each costs a hash. */
const maxWriteKeys = 16;
const keyMaxChars = 1024;

/** Finds the values of the first members with this name in the text and of the last one, at any depth. */
export function findWriteKeys(text: Buffer): readonly string[] {
  const places = new Set<number>();
  let place = text.indexOf(keyName);
  while (place >= 0 && places.size < maxWriteKeys) {
    places.add(place);
    place = text.indexOf(keyName, place + keyName.length);
  }
  if (place >= 0) places.add(text.lastIndexOf(keyName));
  return [...places]
    .map((at) => readTextMember(text, at + keyName.length))
    .filter((key) => key !== null);
}

function readTextMember(text: Buffer, from: number): string | null {
  const near = text.toString('utf8', from, from + keyMaxChars);
  const literal = /^\s*:\s*("(?:[^"\\]|\\.)*")/.exec(near)?.[1];
  if (literal === undefined) return null;
  try {
    const value: unknown = JSON.parse(literal);
    return typeof value === 'string' ? value : null;
  } catch {
    return null;
  }
}

/** Checks the key in the parsed body, because the search in its bytes may have found a nested member. */
export function checkBodyKey(
  keyring: Keyring,
  findWriteKey: (request: FastifyRequest) => string | null,
): preValidationHookHandler {
  return (request, _reply, done) => {
    if (isAdmitted(request, keyring) && !request.getDecorator<boolean>(keyInBody)) {
      done();
      return;
    }
    const writeKey = findWriteKey(request);
    const caller = writeKey === null ? null : keyring.identify(writeKey);
    if (caller !== null) {
      admitCaller(request, caller);
      done();
    } else {
      dismissCaller(request);
      done(createWriteKeyProblem());
    }
  };
}

function listPresentedKeys(request: FastifyRequest): readonly string[] {
  const { writeKey } = readPixelCall(request.query);
  const inQuery = typeof writeKey === 'string' ? [writeKey] : [];
  const presented = toPresentedKey(request);
  return presented === null ? inQuery : [presented, ...inQuery];
}

/** Reads the user of Basic authentication: Base64 of `key:`, sometimes without the colon. Null if there is none. */
function readBasicUser({ headers }: FastifyRequest): string | null {
  const encoded = /^basic +(\S+) *$/i.exec(headers.authorization ?? '')?.[1];
  if (encoded === undefined) return null;
  const [user = ''] = Buffer.from(encoded, 'base64').toString('utf8').split(':');
  return user === '' ? null : user;
}

/** The problem of every request without a valid key. Its challenge is not Basic, for which browsers open a password dialog. */
export function createWriteKeyProblem(): ProblemError {
  return new ProblemError(
    'unauthorized',
    'the write key is missing or not known; it is an ingest key of the relay',
    { headers: { 'www-authenticate': 'Bearer realm="klaviyo-relay"' } },
  );
}
