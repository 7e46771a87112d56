import type { FastifyBaseLogger, FastifyInstance } from 'fastify';
import type { Metrics } from '../../metrics.js';
import type { Unadmitted } from './unadmitted.js';

type Observers = Pick<Metrics, 'httpRequests' | 'httpDuration'>;

const unmatched = 'unmatched';

/**
 * One count, one duration and at most one log line an answer. Both name the route by its pattern:
 * an address would be a label without bounds, and may hold what identifies a person.
 * Answers to callers that were never admitted are lines at debug: anybody could fill the log with them.
 */
export function logResponses(
  app: FastifyInstance,
  metrics: Observers,
  { hasFailed: hasRefused }: Pick<Unadmitted, 'hasFailed'>,
): void {
  app.addHook('onResponse', (request, reply, done) => {
    const { method, id: requestId } = request;
    const route = request.routeOptions.url ?? unmatched;
    const { statusCode: status, elapsedTime: durationMs } = reply;
    metrics.httpRequests.inc({ route, method, status: String(status) });
    metrics.httpDuration.observe({ route }, durationMs / 1000);
    const isFromAnybody = hasRefused(request) || route === unmatched;
    const level = isFromAnybody && status !== 500 ? 'debug' : toLevel(status);
    request.log[level]({ requestId, method, route, status, durationMs }, 'answered');
    done();
  });
}

/** 429 and 503 are the relay protecting itself: worth a look, no failure. Other 4xx are the caller's affair. */
function toLevel(
  status: number,
): keyof Pick<FastifyBaseLogger, 'debug' | 'info' | 'warn' | 'error'> {
  if (status < 400) return 'debug';
  if (status === 429 || status === 503) return 'warn';
  return status < 500 ? 'info' : 'error';
}
