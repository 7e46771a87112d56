import type { IncomingMessage, ServerResponse } from 'node:http';
import type { FastifyInstance } from 'fastify';

type Pending = { readonly response: ServerResponse; readonly keepsAlive: boolean };

/** Requests that wait for "100 Continue" before they send their body. */
const pending = new WeakMap<IncomingMessage, Pending>();

/**
 * Delays "100 Continue" until the body of a request is read. Node would send it before any check of the
 * request. If the response is sent without "100 Continue", the caller may or may not send its body
 * (RFC 9110, 10.1.1), so the connection is closed.
 */
export function delayContinue(app: FastifyInstance): void {
  app.server.on('checkContinue', (request: IncomingMessage, response: ServerResponse) => {
    pending.set(request, { response, keepsAlive: response.shouldKeepAlive });
    response.shouldKeepAlive = false;
    app.routing(request, response);
  });
}

/** Sends "100 Continue" if the caller waits for it. To be called before the body is read. */
export function continueBody(request: IncomingMessage): void {
  const found = pending.get(request);
  if (found === undefined) return;
  pending.delete(request);
  found.response.shouldKeepAlive = found.keepsAlive;
  found.response.writeContinue();
}
