import { CurrentRevision, toRules } from '../../src/klaviyo/revision.js';
import { startMs } from './builders.js';

/** What Klaviyo takes of events under the newest tested revision. */
export const newestRules = toRules('2026-07-15');

/** A revision that is set, or `auto`; moves are not noted. */
export const aRevision = (setting: string, now = startMs): CurrentRevision =>
  new CurrentRevision({ setting, now, onMove: () => undefined });
