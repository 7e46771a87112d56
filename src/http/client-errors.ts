import { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Metrics } from '../metrics.js';
import { ProblemError, problems, toProblemText } from './problems.js';

/**
 * Answers what Node's HTTP parser gives up on: a request that is no HTTP, headers that are too large
 * or late, a body that stalls. There is no request object then, so the answer is written by hand.
 */
export function createClientErrorHandler(metrics: Metrics) {
  return (error: NodeJS.ErrnoException, socket: Socket): void => {
    if (error.code !== 'ECONNRESET' && mayAnswer(socket)) {
      const problem = toProblem(error.code);
      metrics.httpRequests.inc({
        route: 'unmatched',
        method: 'unknown',
        status: String(problem.statusCode),
      });
      socket.write(toAnswerText(problem));
    }
    socket.destroySoon();
  };
}

/**
 * Whatever is written now answers the oldest request that has no answer yet. If that one arrived in
 * full it is not the one at fault, and "408" would be a lie about a request that may be accepted.
 * `_httpMessage` is how Node's own default handler finds it.
 */
function mayAnswer(socket: Socket): boolean {
  if (!socket.writable) return false;
  const oldest = '_httpMessage' in socket ? socket._httpMessage : null;
  if (!(oldest instanceof ServerResponse)) return true;
  const isInFull = oldest.req instanceof IncomingMessage && oldest.req.complete;
  return !oldest.headersSent && !isInFull;
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
