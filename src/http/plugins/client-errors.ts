import { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Metrics } from '../../metrics.js';
import { ProblemError, problems, toProblemText } from './problems.js';

/**
 * Responds to requests that Node's HTTP parser rejects: a request that is not HTTP, headers that are too
 * large or too late, a body that stalls. There is no request object then, so the response is written to
 * the socket directly.
 */
export function createClientErrorHandler(metrics: Metrics) {
  return (error: NodeJS.ErrnoException, socket: Socket): void => {
    const response = findUnfinishedResponse(socket);
    if (response !== null) {
      response.once('close', () => socket.destroySoon());
      return;
    }
    if (error.code !== 'ECONNRESET' && socket.writable) {
      const problem = toParserProblem(error.code);
      const status = String(problem.statusCode);
      metrics.httpRequests.inc({ route: 'unmatched', method: 'unknown', status });
      socket.write(toResponseText(problem));
    }
    socket.destroySoon();
  };
}

/**
 * Finds an earlier response that must be sent before the connection ends. A caller takes the next bytes on
 * the connection as the response to its oldest open request. If that request arrived in full, or its
 * response has begun, the error is about a later request: a 408 now would be read as the result of a
 * request that may still be accepted. Node's own default handler finds the response by `_httpMessage`, too.
 */
function findUnfinishedResponse(socket: Socket): ServerResponse | null {
  const oldest = '_httpMessage' in socket ? socket._httpMessage : null;
  if (!socket.writable || !(oldest instanceof ServerResponse)) return null;
  const isComplete = oldest.req instanceof IncomingMessage && oldest.req.complete;
  return isComplete || oldest.headersSent ? oldest : null;
}

function toParserProblem(code: string | undefined): ProblemError {
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

function toResponseText(problem: ProblemError): string {
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
