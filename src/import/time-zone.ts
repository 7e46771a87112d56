/**
 * The instants (epoch ms) that a clock on the wall of a time zone shows as one time: one as a rule, none
 * where the clock is put forward over it, two where it is put back.
 */
export type WallClock = (wallMs: number) => {
  readonly instants: readonly number[];
  /** What the offset of before comes to: in a gap, the same time after it. */
  readonly compatible: number;
};

const dayMs = 86_400_000;
/** All changes of offset since 1990 fall on a quarter of an hour. */
const stepMs = 900_000;
const maxRemembered = 50_000;

/** Throws RangeError where the runtime has no such zone. `wallMs` is the wall's time as if it were UTC. */
export function createWallClock(timeZone: string): WallClock {
  const format = new Intl.DateTimeFormat('en-US', { timeZone, timeZoneName: 'longOffset' });
  const remembered = new Map<number, number>();
  const toOffset = (at: number): number => {
    const step = Math.floor(at / stepMs);
    const known = remembered.get(step);
    if (known !== undefined) return known;
    if (remembered.size >= maxRemembered) remembered.clear();
    const offset = parseOffset(format.format(at));
    remembered.set(step, offset);
    return offset;
  };
  return (wallMs) => {
    const [before, after] = [toOffset(wallMs - dayMs), toOffset(wallMs + dayMs)];
    const candidates = [...new Set([wallMs - before, wallMs - after])].sort((a, b) => a - b);
    const instants = candidates.filter((at) => at + toOffset(at) === wallMs);
    return { instants, compatible: wallMs - before };
  };
}

/** Of `1/31/2026, GMT+05:30`, in ms. */
function parseOffset(text: string): number {
  const [, sign, hours, minutes, seconds = '0'] =
    /GMT([+-])(\d\d):(\d\d)(?::(\d\d))?$/.exec(text) ?? [];
  if (sign === undefined) return 0;
  const ms = (Number(hours) * 3600 + Number(minutes) * 60 + Number(seconds)) * 1000;
  return sign === '-' ? -ms : ms;
}
