import type { onRequestHookHandler } from 'fastify';
import type { Lane } from '../../model/lane.js';
import type { Backpressure } from '../../model/store.js';
import type { ServerDeps } from '../deps.js';
import { toUnavailable, type ProblemError } from './problems.js';

const details: Readonly<Record<Backpressure['reason'], string>> = {
  full: 'the buffer is full; nothing was taken',
  disk: 'the disk is nearly full; nothing was taken',
  closed: 'the relay is stopping; nothing was taken',
  unavailable: 'the store is not available; nothing was taken',
  lossy:
    'the store could lose what it is given, and REDIS_REQUIRE_DURABLE is set; nothing was taken',
  dead_letters:
    'a part of it cannot be sent as it stands, and there is no room for another dead letter; nothing was taken',
};

export function toBackpressureProblem({ reason, retryAfterMs }: Backpressure): ProblemError {
  return toUnavailable(details[reason], retryAfterMs);
}

/** The problem with which a request would be rejected now; null if the store would accept it. Called before a body is read. */
export function findBackpressure(
  deps: Pick<ServerDeps, 'isDraining' | 'backpressure' | 'config'>,
): ProblemError | null {
  if (deps.isDraining()) {
    return toUnavailable('the relay is stopping', deps.config.SHUTDOWN_TIMEOUT_MS);
  }
  const backpressure = deps.backpressure();
  return backpressure && toBackpressureProblem(backpressure);
}

/**
 * Creates a hook that rejects a request before its body is read if the store would not accept it.
 * `lane`: the lane under which relay_ingest_total counts the request; absent: it is not counted.
 */
export function rejectOnBackpressure(
  deps: Pick<ServerDeps, 'isDraining' | 'backpressure' | 'config' | 'metrics'>,
  lane?: Lane,
): onRequestHookHandler {
  return (_request, reply, done) => {
    const backpressure = findBackpressure(deps);
    if (backpressure === null) {
      done();
      return;
    }
    if (lane !== undefined) deps.metrics.ingest.inc({ lane, outcome: 'refused' });
    if (deps.isDraining()) reply.raw.shouldKeepAlive = false;
    done(backpressure);
  };
}
