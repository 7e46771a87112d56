export type Stamp = {
  /** Ms that stand in for the server's clock, in tests. */
  readonly given: number | undefined;
  /** Ms since this relay's last script of which the server kept the time; null for its first one. */
  readonly elapsedMs: number | null;
  /** By the wall clock of the relay; null where it is not kept. */
  readonly wall: number | null;
};

export function toStamp({ given, elapsedMs, wall }: Stamp): string {
  return [given?.toFixed(3), elapsedMs?.toFixed(3), wall?.toFixed(0)]
    .map((each) => each ?? '')
    .join(' ');
}
