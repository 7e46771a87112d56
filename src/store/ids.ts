import { laneTraits, type StoreLane, storeLanes } from '../model/lane.js';

const lanesByPrefix = new Map(storeLanes.map((lane) => [laneTraits[lane].idPrefix, lane]));
const form = /^([a-z]{2})_([0-9a-z]{6})_([0-9a-z]{1,11})$/;

/** The number of an envelope: from 1 within its lane, so that a delivery can store ranges of numbers. */
export type EnvelopeNumber = {
  readonly lane: StoreLane;
  readonly epoch: string;
  readonly seq: number;
};

/** `ev_k3f9a1_2s`: lane, epoch of the store, number. Ids of an earlier store never match a newer one. */
export function toId({ lane, epoch, seq }: EnvelopeNumber): string {
  return `${laneTraits[lane].idPrefix}_${epoch}_${seq.toString(36)}`;
}

export function fromId(id: string): EnvelopeNumber | null {
  const [, prefix, epoch, seq] = form.exec(id) ?? [];
  const lane = lanesByPrefix.get(prefix ?? '');
  if (lane === undefined || epoch === undefined || seq === undefined) return null;
  return { lane, epoch, seq: parseInt(seq, 36) };
}

/** Six characters of base 36. */
export function toEpoch(random: number): string {
  return Math.floor(random * 36 ** 6)
    .toString(36)
    .padStart(6, '0');
}
