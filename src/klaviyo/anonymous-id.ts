import type { Lane } from '../envelope.js';

/** The first revision whose profile imports refuse `anonymous_id`. */
const goneFromImports = '2025-10-15';

/**
 * Returns true if bulk requests of a lane may carry `anonymous_id`. By Klaviyo's OpenAPI files, bulk events
 * take it in every revision that has them, from 2024-05-15 to 2026-07-15 and as text of any length;
 * profile imports take it before 2025-10-15 alone.
 */
export function takesAnonymousId(lane: Lane, revision: string): boolean {
  return lane === 'events' || revision < goneFromImports;
}
