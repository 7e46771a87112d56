import { UnavailableError, type Link } from '../../../src/redis/link.js';

/** A link that can lose the answer to a script, or the script itself. */
export function fickle() {
  const state = {
    isCutOff: false,
    lose: 'nothing' as 'nothing' | 'answer' | 'script',
    late: () => Promise.resolve<unknown>(null),
  };
  const wrap = (link: Link): Link => ({
    ...link,
    async run(script, key, args) {
      if (state.isCutOff) throw new UnavailableError('the network is down');
      const how = script.name === 'claim' ? state.lose : 'nothing';
      if (how !== 'nothing') {
        state.lose = 'nothing';
        if (how === 'answer') await link.run(script, key, args);
        else state.late = () => link.run(script, key, args);
        throw new UnavailableError('the connection broke');
      }
      return link.run(script, key, args);
    },
  });
  return { state, wrap };
}
