import { z } from 'zod';
import { isLane, lanes, type Lane, type StoreLane } from '../model/lane.js';
import { isJsonObject, parseJson, stringifyJson, type JsonObject } from '../json/json.js';
import { toBytes } from './draft.js';
import type { SourceEntry, SourcePost } from './source-entry.js';

/** An entry that cannot be mapped to Klaviyo's JSON, as it is stored: all that is needed to ingest it again. */
export type UnmappableEntry = {
  /** Absent in dead letters of an earlier version, which have it beside them. */
  readonly lane?: Lane | undefined;
  readonly source: string;
  readonly personKeys: readonly string[];
  readonly idKeys?: readonly string[] | undefined;
  readonly entry: JsonObject;
};

const schema = z.object({
  lane: z.enum(lanes).optional(),
  source: z.string(),
  personKeys: z.array(z.string()),
  idKeys: z.array(z.string()).optional(),
  entry: z.custom<JsonObject>(isJsonObject),
});

/** `entry` is stamped: with its own time and unique_id it stays the same event, however late it is ingested. */
export function toUnmappable(
  source: string,
  { lane, personKeys = [], idKeys }: Pick<SourceEntry, 'lane' | 'personKeys' | 'idKeys'>,
  entry: JsonObject,
): Uint8Array {
  const unmappable: UnmappableEntry = { lane, source, personKeys, idKeys, entry };
  return toBytes(stringifyJson(unmappable));
}

/** The post to ingest an entry again with; null for a payload of another form. */
export function readUnmappable({
  lane: storeLane,
  payload,
  acceptedAt,
}: {
  readonly lane: StoreLane;
  readonly payload: Uint8Array;
  readonly acceptedAt: number;
}): SourcePost | null {
  const parsed = parseJson(Buffer.from(payload).toString());
  const unmappable = schema.safeParse(parsed.ok ? parsed.value : null).data;
  if (unmappable === undefined) return null;
  const { source, personKeys, idKeys, entry } = unmappable;
  const lane = isLane(storeLane) ? storeLane : unmappable.lane;
  if (lane === undefined) return null;
  const entries = [{ lane, index: 0, personKeys, ...(idKeys && { idKeys }), entry }];
  return { source, firstAcceptedAt: acceptedAt, entries, people: [], skipped: [] };
}
