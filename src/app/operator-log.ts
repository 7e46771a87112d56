import type { Logger } from '../log/logger.js';
import type { OpenStoreDeps } from '../store/open.js';
import type { OpenLimiterDeps } from './open-limiter.js';

/** Log lines about the volume of the journal. */
export function toDiskReport(log: Logger): (isLow: boolean, freeBytes: number) => void {
  return (isLow, freeBytes) => {
    if (isLow)
      log.error({ freeBytes }, 'the disk is nearly full: intake stops until there is room');
    else log.info({ freeBytes }, 'there is room on the disk again: intake goes on');
  };
}

/** Log lines about the Redis that relays share a limiter in. */
export function toLimiterReport(log: Logger): Pick<OpenLimiterDeps, 'onServer' | 'onFinding'> {
  return {
    onServer(isUp, why) {
      if (isUp) log.info('the limiter that relays share answers');
      else
        log.error(
          { why },
          'the limiter that relays share is away: nothing is sent that it did not permit',
        );
    },
    onFinding: (finding) => log.warn({ of: 'RATE_LIMIT_REDIS_URL' }, finding),
  };
}

/** Log lines about a store on Redis. */
export function toServerReport(
  log: Logger,
): Pick<
  OpenStoreDeps,
  'onServer' | 'onDurability' | 'onTakenOver' | 'onLate' | 'onLeaseLost' | 'onBufferLost'
> {
  return {
    onServer(isUp, why) {
      if (isUp) log.info('Redis takes what is written: intake goes on');
      else log.error({ why }, 'Redis does not take what is written: intake stops until it does');
    },
    onDurability({ server, isDurable, isKnown, findings }) {
      const facts = { server, isDurable, isKnown };
      if (findings.length === 0) log.info(facts, 'Redis keeps what it acknowledges');
      for (const finding of findings) log.warn(facts, finding);
    },
    onBufferLost: (envelopes) =>
      log.error(
        { envelopes },
        'the buffer in Redis was lost and a new one is used: accepted envelopes that were not delivered are lost',
      ),
    onTakenOver: (relays) =>
      log.warn({ relays }, 'the leases of relays ended: other relays send their envelopes'),
    onLate: (leftMs) =>
      log.error(
        { leftMs },
        'the heartbeat to Redis is late: when the lease ends, other relays send the envelopes of this relay',
      ),
    onLeaseLost: (why) =>
      log.error(
        why === 'silence'
          ? 'this relay was not heard of for longer than its lease: others may send what it held'
          : 'Redis fell back on a replica that has not all of what it acknowledged: what this relay held is sent again',
      ),
  };
}
