import type { Readable } from 'node:stream';
import type {
  FastifyInstance,
  FastifyRequest,
  onRequestHookHandler,
  preValidationHookHandler,
} from 'fastify';
import {
  admitCaller,
  dismissCaller,
  isAdmitted,
  toPresentedKey,
  type Keyring,
} from '../../http/plugins/auth.js';
import type { BegunBody } from '../../http/plugins/body.js';
import { decodeBody, parseContentCodings } from '../../http/plugins/content-codings.js';
import { ProblemError } from '../../http/plugins/problems.js';
import type { Unadmitted } from '../../http/plugins/unadmitted.js';
import { readPixelCall } from './pixel.js';

/**
 * A write key is an ingest key. It comes as the user of Basic, as most SDKs send it; then that one
 * counts. Else as Bearer or X-API-Key, in the query (beacons and pixels), or, as analytics-python sends
 * it, in the body alone: a request without a known key is not refused before its body was read.
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
 * A batch of Segment has 500 KB at most, and analytics-python writes its key behind it: a body that
 * announces no more than this is looked through. Of a longer one, or one of unknown length, the start is.
 */
const wholeBytes = 524_288;
const startBytes = 16_384;

/** Admits a caller without a key in its headers by the bytes of its body, of which no more is read than bounded above. */
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

/** To be called on the scope that uses `admitByStart`. */
export function decorateKeys(scope: FastifyInstance): void {
  scope.decorateRequest(keyInBody, false);
}

const keyName = Buffer.from('"writeKey"');
/** Each costs a hash. */
const maxWriteKeys = 16;
const keyMaxChars = 1024;

/** Values that the text gives its first members of this name, and its last, wherever they stand. */
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

/** A key in the body counts where the whole of it says so. `findWriteKey` looks into what was parsed. */
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

/** Base64 of `key:`; the colon is missing at times, and there is no password. Null where there is no user. */
function readBasicUser({ headers }: FastifyRequest): string | null {
  const encoded = /^basic +(\S+) *$/i.exec(headers.authorization ?? '')?.[1];
  if (encoded === undefined) return null;
  const [user = ''] = Buffer.from(encoded, 'base64').toString('utf8').split(':');
  return user === '' ? null : user;
}

/** One answer to all who have no key, whatever else is wrong. Not a Basic challenge: browsers would ask for a password. */
export function createWriteKeyProblem(): ProblemError {
  return new ProblemError(
    'unauthorized',
    'the write key is missing or not known; it is an ingest key of the relay',
    { headers: { 'www-authenticate': 'Bearer realm="klaviyo-relay"' } },
  );
}
