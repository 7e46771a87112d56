import { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Metrics } from '../../metrics.js';
import { ProblemError, problems, toProblemText } from './problems.js';

/**
 * Answers what Node's HTTP parser gives up on: a request that is no HTTP, headers that are too large
 * or late, a body that stalls. There is no request object then, so the answer is written by hand.
 */
export function createClientErrorHandler(metrics: Metrics) {
  return (error: NodeJS.ErrnoException, socket: Socket): void => {
    const earlier = findEarlier(socket);
    if (earlier !== null) {
      earlier.once('close', () => socket.destroySoon());
      return;
    }
    if (error.code !== 'ECONNRESET' && socket.writable) {
      const problem = toProblem(error.code);
      const status = String(problem.statusCode);
      metrics.httpRequests.inc({ route: 'unmatched', method: 'unknown', status });
      socket.write(toAnswerText(problem));
    }
    socket.destroySoon();
  };
}

/**
 * Whatever is written now answers the oldest request that has no answer yet. If that one arrived in
 * full, or its answer is on the way, it is not the one at fault, and a 408 would be a lie about what
 * may yet be accepted: its own answer goes out, and then the connection ends. `_httpMessage` is how
 * Node's own default handler finds it.
 */
function findEarlier(socket: Socket): ServerResponse | null {
  const oldest = '_httpMessage' in socket ? socket._httpMessage : null;
  if (!socket.writable || !(oldest instanceof ServerResponse)) return null;
  const isInFull = oldest.req instanceof IncomingMessage && oldest.req.complete;
  return isInFull || oldest.headersSent ? oldest : null;
}

function toProblem(code: string | undefined): ProblemError {
  switch (code) {
    case 'ERR_HTTP_REQUEST_TIMEOUT':
      return new ProblemError(
        'timeout',
        'the request did not arrive in full within its time limit',
      );
    case 'HPE_HEADER_OVERFLOW':
      return new ProblemError('headers-too-large', 'the request headers are too large');
    case 'HPE_CHUNK_EXTENSIONS_OVERFLOW':
      return new ProblemError('too-large', 'the chunk extensions of the body are too large');
    default:
      return new ProblemError('invalid', 'the request is not valid HTTP/1.1');
  }
}

const reasonPhrases: Readonly<Record<number, string>> = {
  400: 'Bad Request',
  408: 'Request Timeout',
  413: 'Payload Too Large',
  431: 'Request Header Fields Too Large',
};

function toAnswerText(problem: ProblemError): string {
  const { status } = problems[problem.kind];
  const body = toProblemText(problem);
  return [
    `HTTP/1.1 ${status} ${reasonPhrases[status] ?? ''}`,
    'Content-Type: application/problem+json',
    `Content-Length: ${Buffer.byteLength(body)}`,
    'Connection: close',
    '',
    body,
  ].join('\r\n');
}
