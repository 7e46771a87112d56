import { toErrors, toInvalid, toNotFound } from './answer.js';
import type { Answer } from './answer.js';
import { revisions, toRevision } from './revisions.js';
import type { Revision } from './revisions.js';

const scheme = 'Klaviyo-API-Key';

/** The key, or the 401 Klaviyo gives: for a wrong scheme and for a wrong key. */
export function toKey(
  header: string | undefined,
  known: readonly string[] | undefined,
): { readonly key: string } | Answer {
  const [, key] = new RegExp(`^${scheme} +(\\S+)$`, 'i').exec(header?.trim() ?? '') ?? [];
  if (key === undefined) {
    return toUnauthorized({
      code: 'not_authenticated',
      title: 'Authentication credentials were not provided.',
      detail: `Missing or invalid authorization scheme. Please use ${scheme}.`,
    });
  }
  if (known === undefined ? key.startsWith('pk_') : known.includes(key)) return { key };
  return toUnauthorized({
    code: 'authentication_failed',
    title: 'Incorrect authentication credentials.',
    detail: 'Incorrect authentication credentials.',
  });
}

function toUnauthorized(error: { code: string; title: string; detail: string }): Answer {
  return toErrors(401, [{ ...error, source: { pointer: '/data/' } }]);
}

/** Klaviyo's words for a missing scope were never recorded; code, title and status were, for other 403s. */
export function toScopeError(
  needed: readonly string[],
  granted: readonly string[] | undefined,
): Answer | null {
  const missing = granted === undefined ? [] : needed.filter((scope) => !granted.includes(scope));
  if (missing.length === 0) return null;
  return toErrors(403, [
    {
      code: 'permission_denied',
      title: 'You do not have permission to perform this action.',
      detail: `The API key used for this request is missing the required scopes: ${missing.join(', ')}`,
      source: { pointer: '/data/' },
    },
  ]);
}

/**
 * The revision of the header, or the answer to what is none: 404 for a future date, 400 for a
 * malformed one (both recorded live; the words of the 400 were not). A date between two releases
 * stands for the earlier one. `today`: YYYY-MM-DD.
 */
export function toAskedRevision(header: string | undefined, today: string): Revision | Answer {
  if (header === undefined || header === '') return toBadRevision('A revision header is required.');
  const [, date] = /^(\d{4}-\d{2}-\d{2})(?:\.[a-z]+\d*)?$/.exec(header) ?? [];
  if (date === undefined || !isCalendarDate(date)) {
    return toBadRevision(`The revision '${header}' must have the format YYYY-MM-DD[.suffix].`);
  }
  if (date > today) return toNotFound('Unable to specify a future revision date');
  return toRevision(date) ?? toBeforeEarliest(date);
}

/** Where Klaviyo's own border lies differs per operation and is not published. */
function toBeforeEarliest(date: string): Answer {
  const earliest = revisions[0]?.date ?? '';
  return toNotFound(
    `The revision ${date} is before the earliest available, use a date after ${earliest}`,
  );
}

function toBadRevision(detail: string): Answer {
  return toErrors(400, [toInvalid(detail, { pointer: '/data/' })]);
}

/** A date that rolls over, such as the 30th of February, comes back as another. */
function isCalendarDate(text: string): boolean {
  const at = new Date(`${text}T00:00:00Z`);
  return !Number.isNaN(at.getTime()) && at.toISOString().startsWith(text);
}
