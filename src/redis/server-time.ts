/** The time of a relay, from which lua/time.lua computes the steady time of the server. */
export type Stamp = {
  /** Ms that replace the server's clock in tests. */
  readonly given: number | undefined;
  /** Ms since this relay's last script that saved the time; null before the first one. */
  readonly elapsedMs: number | null;
  /** The wall clock of the relay; null if the scripts do not save it. */
  readonly wall: number | null;
};

export function toStamp({ given, elapsedMs, wall }: Stamp): string {
  return [given?.toFixed(3), elapsedMs?.toFixed(3), wall?.toFixed(0)]
    .map((each) => each ?? '')
    .join(' ');
}
