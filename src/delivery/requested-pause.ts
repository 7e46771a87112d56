import type { Clock } from '../clock.js';
import type { RequestedPause } from '../model/delivery.js';

/** A pause that begins now, as the log keeps it for the next process. */
export function toRequestedPause(clock: Clock, forMs: number): RequestedPause {
  const uptime = clock.uptime?.() ?? null;
  return { at: clock.now(), forMs, ...(uptime !== null && { uptime }) };
}

/**
 * What is left of a pause. Within one boot of the machine that is exact. After a reboot, or on another
 * machine, only the wall clock can say: all of the pause is left where it was set back since.
 */
export function toRemainingMs({ at, forMs, uptime }: RequestedPause, clock: Clock): number {
  const now = clock.uptime?.() ?? null;
  const isSameBoot = uptime !== undefined && now !== null && uptime.boot === now.boot;
  const goneMs = isSameBoot ? now.ms - uptime.ms : clock.now() - at;
  return Math.min(forMs, Math.max(0, forMs - goneMs));
}
