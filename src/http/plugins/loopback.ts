import type { onRequestHookHandler } from 'fastify';
import { ProblemError } from './problems.js';

const loopbackName = /^(?:(?:.+\.)?localhost|127(?:\.\d{1,3}){3}|\[::1\])$/i;

/** `host` as in the Host header: a name or an address, maybe with a port. */
export function isLoopbackHost(host: string): boolean {
  return loopbackName.test(host.replace(/:\d*$/, ''));
}

function isLoopbackOrigin(origin: string): boolean {
  const [, host] = /^https?:\/\/([^/]+)$/.exec(origin) ?? [];
  return host !== undefined && isLoopbackHost(host);
}

/** Requests here are signed, which no page can do; a tunnel hands them on under a name of its own. */
const signedPaths = '/webhooks/';

/**
 * Without keys, loopback is all that stands between the relay and the web pages open in a browser on
 * this machine. A page that had its own name resolve to 127.0.0.1 (DNS rebinding) shows in Host, one
 * that posts across origins shows in Origin.
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
