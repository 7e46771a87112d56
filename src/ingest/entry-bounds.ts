import type { Lane } from '../model/lane.js';
import type { Container, FindExcess } from '../json/large.js';
import { limits } from './limits.js';

export const notAnObject = {
  events: 'must be a JSON object: one event',
  profiles: 'must be a JSON object: one profile',
} as const;

/**
 * What makes a long entry hopeless while it is being read: the rest of it is not read then. The words
 * are those of the checks that a short entry meets once it is read.
 */
export const entryBounds: Readonly<Record<Lane, FindExcess>> = {
  events: findEventExcess,
  profiles: findProfileExcess,
};

function findEventExcess(container: Container): string | null {
  const { path, isArray, count } = container;
  if (path.length === 0 && isArray) return notAnObject.events;
  if (path.length > limits.nesting) return `is nested deeper than ${limits.nesting} levels`;
  if (isArray && count > limits.arrayLength) return `has more than ${limits.arrayLength} elements`;
  if (path.length === 0 && count > limits.eventFields) {
    return `has more than ${limits.eventFields} fields`;
  }
  if (path.length === 1 && path[0] === 'properties' && count > limits.eventProperties) {
    return `has more than ${limits.eventProperties} properties`;
  }
  return findValuesExcess(container);
}

/** Each value takes two bytes at least. */
function findProfileExcess({ path, isArray, total }: Container): string | null {
  if (path.length === 0 && isArray) return notAnObject.profiles;
  return total > limits.profileBytes / 2 ? `is longer than ${limits.profileBytes} bytes` : null;
}

function findValuesExcess({ total }: Container): string | null {
  return total > limits.valuesPerEntry ? `has more than ${limits.valuesPerEntry} values` : null;
}

/** The same for an entry of a list, whose path starts with the way to the entry. */
export function toListBounds(lane: Lane): FindExcess {
  const findExcess = entryBounds[lane];
  let before = { index: -1, total: 0 };
  return (container) => {
    const { path, isArray, total } = container;
    // Where the index of an entry stands.
    const at = path[0] === lane ? 1 : 0;
    if (path.length > 0 && typeof path[0] === 'string' && path[0] !== lane) {
      return `is not known beside ${lane}`;
    }
    const index = path[at];
    if (typeof index !== 'number') {
      const isFields = path.length === 0 && !isArray && container.count > limits.eventFields;
      return isFields ? `has more than ${limits.eventFields} fields` : null;
    }
    if (before.index !== index) before = { index, total };
    return findExcess({ ...container, path: path.slice(at + 1), total: total - before.total });
  };
}
