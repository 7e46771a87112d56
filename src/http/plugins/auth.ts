import { hash as digestOf, timingSafeEqual } from 'node:crypto';
import type { FastifyInstance, FastifyRequest, onRequestHookHandler } from 'fastify';
import { ProblemError } from './problems.js';
import type { Unadmitted } from './unadmitted.js';

/**
 * Decides who may call. With keys, `requireAccess` passes callers that present one. Without keys the relay
 * listens on this machine only, and `rejectForeignPages` keeps out the web pages that are open on it.
 */

export type Access = 'ingest' | 'admin';

/** The caller of a request. `id` is a hash of the key, and does not reveal it. */
export type Caller = { readonly id: string; readonly access: Access };

export type Keyring = {
  /** True if no keys are configured. The configuration then allows loopback addresses only. */
  readonly isOpen: boolean;
  /** Returns null if the presented key is unknown. */
  identify(presented: string): Caller | null;
};

type Keys = { readonly ingest: readonly string[]; readonly admin: readonly string[] };

const hash = (key: string): Buffer => digestOf('sha256', key, 'buffer');

type Entry = { readonly digest: Buffer; readonly caller: Caller };

function toEntries({ ingest, admin }: Keys): readonly Entry[] {
  const toEntry =
    (access: Access) =>
    (key: string): Entry => {
      const digest = hash(key);
      return { digest, caller: { id: digest.toString('hex', 0, 8), access } };
    };
  // Admin keys come last: the last match wins.
  return [...ingest.map(toEntry('ingest')), ...admin.map(toEntry('admin'))];
}

/** `read` is called at each use, because the keys may be replaced while the relay runs. */
export function createKeyring(read: () => Keys): Keyring {
  let keys = read();
  let entries = toEntries(keys);
  return {
    isOpen: entries.length === 0,
    /** Takes the same time for every key, known or unknown: all digests have one length, and all are compared. */
    identify(presented) {
      const now = read();
      if (now.ingest !== keys.ingest || now.admin !== keys.admin) entries = toEntries(now);
      keys = now;
      const digest = hash(presented);
      let found: Caller | null = null;
      for (const entry of entries) {
        if (timingSafeEqual(entry.digest, digest)) found = entry.caller;
      }
      return found;
    },
  };
}

const callerId = 'callerId';

/** To be called once, on the root, before `requireAccess`. */
export function decorateCallers(app: FastifyInstance): void {
  app.decorateRequest(callerId, '');
}

/** Assigns a request to a caller, whose quota it counts against. */
export function admitCaller(request: FastifyRequest, caller: Caller): void {
  request.setDecorator(callerId, caller.id);
}

/** Reverts `admitCaller`. */
export function dismissCaller(request: FastifyRequest): void {
  request.setDecorator(callerId, '');
}

export function isAdmitted(request: FastifyRequest, keyring: Keyring): boolean {
  return keyring.isOpen || request.getDecorator<string>(callerId) !== '';
}

/** The key of the caller's quota: the id of its API key, or its address if no keys are configured. */
export function toQuotaKey(request: FastifyRequest): string {
  return request.getDecorator<string>(callerId) || request.ip;
}

/** A hook that passes callers with this access. Admin keys may ingest, too. */
export function requireAccess(
  keyring: Keyring,
  access: Access,
  { recordFailure }: Pick<Unadmitted, 'recordFailure'>,
): onRequestHookHandler {
  return (request, _reply, done) => {
    if (keyring.isOpen) {
      done();
      return;
    }
    const presented = toPresentedKey(request);
    const caller = presented === null ? null : keyring.identify(presented);
    if (caller === null) {
      done(recordFailure(request, toUnauthorized(presented !== null)));
    } else if (access === 'admin' && caller.access !== 'admin') {
      done(new ProblemError('forbidden', 'this key may only ingest; use an admin key'));
    } else {
      admitCaller(request, caller);
      done();
    }
  };
}

/** From `Authorization: Bearer` or `X-API-Key`. */
export function toPresentedKey({ headers }: FastifyRequest): string | null {
  const bearer = /^bearer +(\S+) *$/i.exec(headers.authorization ?? '')?.[1];
  if (bearer !== undefined) return bearer;
  const plain = headers['x-api-key'];
  return typeof plain === 'string' && plain !== '' ? plain : null;
}

/** RFC 6750, section 3: the error is named only if a key was presented. */
function toUnauthorized(wasPresented: boolean): ProblemError {
  const realm = 'Bearer realm="klaviyo-relay"';
  return new ProblemError(
    'unauthorized',
    wasPresented
      ? 'this key is not known'
      : 'send a key as "Authorization: Bearer <key>" or "X-API-Key: <key>"',
    {
      headers: { 'www-authenticate': wasPresented ? `${realm}, error="invalid_token"` : realm },
    },
  );
}

const loopbackName = /^(?:(?:.+\.)?localhost|127(?:\.\d{1,3}){3}|\[::1\])$/i;

/** `host`: a name or an address with an optional port, as in the Host header. */
export function isLoopbackHost(host: string): boolean {
  return loopbackName.test(host.replace(/:\d*$/, ''));
}

function isLoopbackOrigin(origin: string): boolean {
  const [, host] = /^https?:\/\/([^/]+)$/.exec(origin) ?? [];
  return host !== undefined && isLoopbackHost(host);
}

/** Webhooks are exempt. They are signed, which a web page cannot do, and a tunnel forwards them under a host name of its own. */
const signedPaths = '/webhooks/';

/**
 * Rejects requests of web pages. Without keys, the relay accepts connections from this machine only, and a
 * web page in a browser on this machine could send requests, too. The Host header reveals a page whose
 * own name resolves to 127.0.0.1 (DNS rebinding), and the Origin header reveals a request to another origin.
 */
export const rejectForeignPages: onRequestHookHandler = (request, _reply, done) => {
  if (request.routeOptions.url?.startsWith(signedPaths) === true) {
    done();
    return;
  }
  const { host = '', origin } = request.headers;
  const isLocal = isLoopbackHost(host) && (origin === undefined || isLoopbackOrigin(origin));
  done(
    isLocal
      ? undefined
      : new ProblemError('forbidden', 'without RELAY_API_KEYS only this machine is served'),
  );
};
