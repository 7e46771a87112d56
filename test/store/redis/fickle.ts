import { UnavailableError, type RedisConnection } from '../../../src/redis/connection.js';

/** A connection that can lose the answer to a claim or a look, or the claim itself, or bring the answer late. */
export function fickle() {
  const state = {
    isCutOff: false,
    lose: 'nothing' as 'nothing' | 'answer' | 'script',
    /** Answers to looks that are lost from now on. */
    losesLooks: 0,
    onAnswer: () => Promise.resolve(),
    late: () => Promise.resolve<unknown>(null),
  };
  const wrap = (connection: RedisConnection): RedisConnection => ({
    ...connection,
    async run(script, key, args) {
      if (state.isCutOff) throw new UnavailableError('the network is down');
      const how = script.name === 'claim' ? state.lose : 'nothing';
      if (how !== 'nothing') {
        state.lose = 'nothing';
        if (how === 'answer') await connection.run(script, key, args);
        else state.late = () => connection.run(script, key, args);
        throw new UnavailableError('the connection broke');
      }
      const reply = await connection.run(script, key, args);
      if (script.name === 'heartbeat' && state.losesLooks > 0) {
        state.losesLooks--;
        throw new UnavailableError('the connection broke');
      }
      if (script.name === 'claim') {
        const { onAnswer } = state;
        state.onAnswer = () => Promise.resolve();
        state.isCutOff = true;
        await onAnswer();
        state.isCutOff = false;
      }
      return reply;
    },
  });
  return { state, wrap };
}
