import { profileSchema } from '../../ingest/schema.js';
import type { IngestLane } from './ingest.js';

/** The id puts the schema among the components of the OpenAPI document. */
export const profileRoutes: IngestLane = {
  lane: 'profiles',
  noun: 'profile',
  entry: profileSchema.meta({ ...profileSchema.meta(), id: 'Profile' }),
};
