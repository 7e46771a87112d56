import type { onRequestHookHandler } from 'fastify';
import type { Lane } from '../../model/lane.js';
import type { Backpressure } from '../../model/store.js';
import type { ServerDeps } from '../deps.js';
import { toUnavailable, type ProblemError } from './problems.js';

const details: Readonly<Record<Backpressure['reason'], string>> = {
  full: 'the buffer is full; nothing was accepted',
  disk: 'the disk is nearly full; nothing was accepted',
  closed: 'the relay is stopping; nothing was accepted',
  unavailable: 'the store is not available; nothing was accepted',
  lossy:
    'the store could lose accepted envelopes, and REDIS_REQUIRE_DURABLE is set; nothing was accepted',
  dead_letters:
    'an entry could only become a dead letter, and the dead letters are at their bound; nothing was accepted',
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
