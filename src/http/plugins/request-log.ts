import type { FastifyBaseLogger, FastifyInstance } from 'fastify';
import type { Metrics } from '../../metrics.js';
import type { Unadmitted } from './unadmitted.js';

type Observers = Pick<Metrics, 'httpRequests' | 'httpDuration'>;

const unmatched = 'unmatched';

/**
 * Records one count, one duration and at most one log line for each response. All name the route by its
 * pattern: a URL would be a label without bounds, and may hold personal data. Responses to callers that
 * were not admitted are logged at level debug, because anybody could fill the log with them.
 */
export function logResponses(
  app: FastifyInstance,
  metrics: Observers,
  { hasFailed }: Pick<Unadmitted, 'hasFailed'>,
): void {
  app.addHook('onResponse', (request, reply, done) => {
    const { method, id: requestId } = request;
    const route = request.routeOptions.url ?? unmatched;
    const { statusCode: status, elapsedTime: durationMs } = reply;
    metrics.httpRequests.inc({ route, method, status: String(status) });
    metrics.httpDuration.observe({ route }, durationMs / 1000);
    const isUnknownCaller = hasFailed(request) || route === unmatched;
    const level = isUnknownCaller && status !== 500 ? 'debug' : toLogLevel(status);
    request.log[level]({ requestId, method, route, status, durationMs }, 'answered');
    done();
  });
}

/** 429 and 503 are warnings: the relay protects itself. Other 4xx are errors of the caller. */
function toLogLevel(
  status: number,
): keyof Pick<FastifyBaseLogger, 'debug' | 'info' | 'warn' | 'error'> {
  if (status < 400) return 'debug';
  if (status === 429 || status === 503) return 'warn';
  return status < 500 ? 'info' : 'error';
}
