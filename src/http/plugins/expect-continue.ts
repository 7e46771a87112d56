import type { IncomingMessage, ServerResponse } from 'node:http';
import type { FastifyInstance } from 'fastify';

type Waiting = { readonly response: ServerResponse; readonly keepsAlive: boolean };

/** Requests that wait for "100 Continue" before they send their body. */
const waiting = new WeakMap<IncomingMessage, Waiting>();

/**
 * Node would send "100 Continue" before anything of a request is judged. Here the body is asked for when
 * it is read. A request that is answered without that may or may not be followed by its body
 * (RFC 9110, 10.1.1), so its connection ends.
 */
export function delayContinue(app: FastifyInstance): void {
  app.server.on('checkContinue', (request: IncomingMessage, response: ServerResponse) => {
    waiting.set(request, { response, keepsAlive: response.shouldKeepAlive });
    response.shouldKeepAlive = false;
    app.routing(request, response);
  });
}

/** Asks for the body where the caller waits to be asked. To be called before it is read. */
export function continueBody(request: IncomingMessage): void {
  const found = waiting.get(request);
  if (found === undefined) return;
  waiting.delete(request);
  found.response.shouldKeepAlive = found.keepsAlive;
  found.response.writeContinue();
}
