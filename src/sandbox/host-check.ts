import type { IncomingMessage } from 'node:http';
import { isIP } from 'node:net';

/**
 * Rejects requests from web pages that are open in a browser on this machine. A page can make its
 * own name resolve to this address (DNS rebinding): then `Host` holds that name. A cross-origin
 * request from a page holds another `Origin`. An IP address in `Host` was not resolved, so no page
 * can have chosen it.
 */
export function createHostCheck(
  allowed: readonly string[],
): (request: Pick<IncomingMessage, 'headers'>) => boolean {
  const names = new Set(allowed.map((name) => name.toLowerCase()));
  return ({ headers: { host = '', origin } }) => {
    const name = host.toLowerCase().replace(/:\d*$/, '');
    const address = name.replace(/^\[(.*)\]$/, '$1');
    const isOurs =
      isIP(address) > 0 || name === 'localhost' || name.endsWith('.localhost') || names.has(name);
    return isOurs && (origin === undefined || /^https?:\/\/(.*)$/.exec(origin)?.[1] === host);
  };
}
