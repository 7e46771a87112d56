import type { FindExcess } from '../../json/large.js';
import { limits } from '../../ingest/limits.js';

/** What of a long body of a Segment SDK is not read to its end: a call with too many values alone. */
export function createCallBounds(): FindExcess {
  let current: { readonly place: unknown; readonly total: number } = { place: null, total: 0 };
  return ({ path, total }) => {
    const [first, second] = path;
    // A batch and its calls; the calls have each their own sum.
    if (first === 'batch' && path.length === 1) return null;
    const place = first === 'batch' ? second : first;
    if (place === undefined) return null;
    if (current.place !== place) current = { place, total };
    return total - current.total > limits.valuesPerCall
      ? `has more than ${limits.valuesPerCall} values`
      : null;
  };
}
