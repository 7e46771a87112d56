import type { OpenImportJobs } from '../delivery/import-job-poller.js';
import type { Pause } from '../delivery/lane-state.js';
import type { Readiness } from '../http/deps.js';
import { lanes } from '../model/lane.js';
import type { Backpressure, Store } from '../model/store.js';
import type { OpenedLimiter } from './open-limiter.js';
import type { ObservedParts } from './state-metrics.js';

type Check = Readiness['checks'][string];

const toCheck = (detail: string | null): Check =>
  detail === null ? { ok: true } : { ok: false, detail };

function describeBackpressure({ reason }: Backpressure, store: Pick<Store, 'outage'>): string {
  const why = reason === 'unavailable' ? store.outage?.() : null;
  return why ? `${reason}: ${why}` : reason;
}

/**
 * The relay is ready while it can accept. The states of Klaviyo and of the shared limiter are among the
 * checks, but an outage of either does not make the relay unready.
 */
export function toReadiness({
  store,
  engine,
  limits,
  revision,
  draining,
}: Pick<ObservedParts, 'store' | 'engine' | 'revision'> & {
  limits: Pick<OpenedLimiter, 'shared'>;
  draining: boolean;
}): Readiness {
  const backpressure = store.backpressure();
  const checks: Record<string, Check> = {
    intake: draining ? { ok: false, detail: 'draining' } : { ok: true },
    store:
      backpressure === null
        ? { ok: true }
        : { ok: false, detail: describeBackpressure(backpressure, store) },
  };
  const ready = !draining && backpressure === null;
  if (limits.shared !== null) checks.limiter = toCheck(limits.shared.outage());
  const pauses = engine.pauses();
  for (const lane of lanes) {
    const details = [
      ...pauses[lane].map(describePause),
      ...describeSlowJobs(engine.openJobs(lane)),
    ];
    checks[`klaviyo_${lane}`] = {
      ok: pauses[lane].length === 0,
      ...(details.length > 0 && { detail: details.join('; ') }),
    };
  }
  checks.klaviyo_revision = { ok: true, detail: revision.explain() };
  return { ready, checks };
}

function describePause({ kind, reason, advice, since }: Pause): string {
  const code = kind === reason.code ? [] : [reason.code];
  const words = [...code, advice ?? [], reason.detail].flat().join(': ');
  return `${kind} since ${new Date(since).toISOString()}: ${words}`;
}

/** Import jobs usually end within seconds. A job that is open for longer is mentioned. */
const slowJobMs = 10_000;

function describeSlowJobs({ count, oldestAgeMs }: OpenImportJobs): readonly string[] {
  if (oldestAgeMs < slowJobMs) return [];
  return [`open import jobs: ${count}, the oldest for ${Math.round(oldestAgeMs / 1000)} s`];
}
