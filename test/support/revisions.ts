import { CurrentRevision, toRules } from '../../src/klaviyo/revision.js';
import { startMs } from './builders.js';

/** Rules for events under the newest tested revision. */
export const newestRules = toRules('2026-07-15');

/** The current revision for a setting of KLAVIYO_REVISION; moves to another revision are ignored. */
export const aRevision = (setting: string, now = startMs): CurrentRevision =>
  new CurrentRevision({ setting, now, onMove: () => undefined });
