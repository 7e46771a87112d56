import type { onRequestHookHandler } from 'fastify';
import { ProblemError } from './problems.js';

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
