import type { AcceptedFromSource } from '../../src/ingest/accept-from-source.js';

/** The result for a request of a source with one entry that the store accepted. */
export const acceptedOne: Extract<AcceptedFromSource, { kind: 'accepted' }> = {
  kind: 'accepted',
  accepted: 1,
  duplicates: 0,
  waiting: 0,
  warnings: [],
  rejected: [],
  repeat: false,
};
