import { eventSchema } from '../../ingest/schema.js';
import type { IngestLane } from './ingest.js';

/** The id puts the schema among the components of the OpenAPI document. */
export const eventRoutes: IngestLane = {
  lane: 'events',
  noun: 'event',
  entry: eventSchema.meta({ ...eventSchema.meta(), id: 'Event' }),
};
