import { storeLanes, type StoreLane } from '../envelope.js';

export const mapStoreLanes = <T>(toValue: (lane: StoreLane) => T): Readonly<Record<StoreLane, T>> =>
  Object.fromEntries(storeLanes.map((lane) => [lane, toValue(lane)])) as Record<StoreLane, T>;
