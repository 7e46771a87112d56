import type { FindExcess } from '../json-large.js';
import { limits } from './limits.js';

/** What of a long body of a Segment SDK is not read to its end: a call with too many values alone. */
export function createSegmentBounds(): FindExcess {
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

/**
 * The same for a webhook: no list in one is nearly as long, nor are the pairs a shop adds to an object.
 * The objects around them are read by name alone, so that all their members may stay.
 */
export const findWebhookExcess: FindExcess = ({ path, isArray, count }) =>
  count > limits.membersPerWebhookField && (isArray || path.length >= objectLevels)
    ? `has more than ${limits.membersPerWebhookField} members`
    : null;

/** Levels of a body that are read by name: `data.object.metadata` of Stripe is the first below. */
const objectLevels = 3;
