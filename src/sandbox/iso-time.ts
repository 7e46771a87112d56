/** Returns the time of epoch ms as ISO 8601 in UTC. */
export function toIsoTime(epochMs: number): string;
export function toIsoTime(epochMs: number | null): string | null;
export function toIsoTime(epochMs: number | null): string | null {
  return epochMs === null ? null : new Date(epochMs).toISOString();
}
