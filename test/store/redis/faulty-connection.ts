import { UnavailableError, type RedisConnection } from '../../../src/redis/connection.js';

/** A connection that fails as `state` says. */
export function createFaultyConnection() {
  const state = {
    /** True while no command reaches the server. */
    isCutOff: false,
    /** What the next claim loses. A claim whose script is lost runs when `runLate` is called. */
    claimFault: 'nothing' as 'nothing' | 'reply' | 'script',
    runLate: () => Promise.resolve<unknown>(null),
    /** How many of the next heartbeats lose their reply. */
    lostHeartbeats: 0,
    /** Runs after the next claim and before its reply arrives, without a connection. */
    onClaimReply: () => Promise.resolve(),
  };
  const wrap = (connection: RedisConnection): RedisConnection => ({
    ...connection,
    async run(script, key, args) {
      if (state.isCutOff) throw new UnavailableError('the network is down');
      const fault = script.name === 'claim' ? state.claimFault : 'nothing';
      if (fault !== 'nothing') {
        state.claimFault = 'nothing';
        if (fault === 'reply') await connection.run(script, key, args);
        else state.runLate = () => connection.run(script, key, args);
        throw new UnavailableError('the connection broke');
      }
      const reply = await connection.run(script, key, args);
      if (script.name === 'heartbeat' && state.lostHeartbeats > 0) {
        state.lostHeartbeats--;
        throw new UnavailableError('the connection broke');
      }
      if (script.name === 'claim') {
        const { onClaimReply } = state;
        state.onClaimReply = () => Promise.resolve();
        state.isCutOff = true;
        await onClaimReply();
        state.isCutOff = false;
      }
      return reply;
    },
  });
  return { state, wrap };
}
