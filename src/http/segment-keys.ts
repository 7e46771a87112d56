import type { FastifyRequest, onRequestHookHandler, preValidationHookHandler } from 'fastify';
import { admit, isAdmitted, toPresentedKey, type Keyring } from './auth.js';
import { ProblemError } from './problems.js';

/**
 * A write key is an ingest key. It comes as the user of Basic, as most SDKs send it; then that one
 * counts. Else as Bearer or X-API-Key, or, as analytics-python sends it, in the body alone: who has
 * none in the headers is not turned away before the body was read.
 */
export function admitByHeaders(keyring: Keyring): onRequestHookHandler {
  return (request, _reply, done) => {
    if (keyring.isOpen) {
      done();
      return;
    }
    const user = toBasicUser(request);
    const presented = user ?? toPresentedKey(request);
    const caller = presented === null ? null : keyring.identify(presented);
    if (caller !== null) admit(request, caller);
    done(user !== null && caller === null ? toInvalidWriteKey() : undefined);
  };
}

/** For whom no header spoke. `findWriteKey` looks into the body. */
export function admitByBody(
  keyring: Keyring,
  findWriteKey: (request: FastifyRequest) => string | null,
): preValidationHookHandler {
  return (request, _reply, done) => {
    if (isAdmitted(request, keyring)) {
      done();
      return;
    }
    const writeKey = findWriteKey(request);
    const caller = writeKey === null ? null : keyring.identify(writeKey);
    if (caller !== null) admit(request, caller);
    done(caller === null ? toInvalidWriteKey() : undefined);
  };
}

/** Base64 of `key:`; the colon is missing at times, and there is no password. Null where there is no user. */
function toBasicUser({ headers }: FastifyRequest): string | null {
  const encoded = /^basic +(\S+) *$/i.exec(headers.authorization ?? '')?.[1];
  if (encoded === undefined) return null;
  const [user = ''] = Buffer.from(encoded, 'base64').toString('utf8').split(':');
  return user === '' ? null : user;
}

/** One answer to all who have no key, whatever else is wrong. Not a Basic challenge: browsers would ask for a password. */
export function toInvalidWriteKey(): ProblemError {
  return new ProblemError(
    'unauthorized',
    'the write key is missing or not known; it is an ingest key of the relay',
    { headers: { 'www-authenticate': 'Bearer realm="klaviyo-relay"' } },
  );
}
