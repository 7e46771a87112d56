import type { Clock, Timer } from '../../clock.js';

export type DiskSpaceOptions = {
  readonly clock: Clock;
  /** Bytes that this process may still write to the volume. */
  readonly freeBytes: () => Promise<number>;
  /** Of the journal's own file: its length, and what is free in it. */
  readonly freePages: () => { readonly fileBytes: number; readonly freeBytes: number };
  /** Intake stops when less than this is left: settling, and whoever else uses the volume, need some. */
  readonly reserveBytes: number;
  /** Told at each change. */
  readonly onChange: (isLow: boolean, freeBytes: number) => void;
};

const lookMs = 1000;
/**
 * Free pages may lie too scattered for what is written next, and then the file grows although it has
 * some. Below this share of the reserve they only count once most of the file is free.
 */
const floorShare = 1 / 4;
const mostlyFree = 1 / 2;
export const diskRetryAfterMs = 5000;

/** Watches the volume's free space, so that intake stops before a write fails. What is accepted between two looks is counted. */
export class DiskSpace {
  readonly #options: DiskSpaceOptions;
  #freeBytes = Infinity;
  #isLow = false;
  #timer: Timer | null = null;
  #isClosed = false;

  constructor(options: DiskSpaceOptions) {
    this.#options = options;
  }

  /** The first look is over when it resolves. */
  async start(): Promise<void> {
    await this.#look();
  }

  isLow(): boolean {
    return this.#isLow;
  }

  /** Asked now; Infinity where the volume cannot be asked. */
  async freeBytes(): Promise<number> {
    try {
      return await this.#options.freeBytes();
    } catch {
      return Infinity;
    }
  }

  wrote(bytes: number): void {
    this.#freeBytes = Math.max(0, this.#freeBytes - bytes);
    this.#judge();
  }

  /** A write failed for want of room, whatever the last look said. */
  ranOut(): void {
    this.#freeBytes = -1;
    this.#judge();
  }

  close(): void {
    this.#isClosed = true;
    this.#timer?.cancel();
  }

  async #look(): Promise<void> {
    // A volume that cannot be asked is not known to be full; writes to it tell.
    const onVolume = await this.freeBytes();
    if (this.#isClosed) return;
    const inFile = this.#freePages();
    const countsPages =
      onVolume >= this.#options.reserveBytes * floorShare ||
      inFile.freeBytes >= inFile.fileBytes * mostlyFree;
    this.#freeBytes = onVolume + (countsPages ? inFile.freeBytes : 0);
    this.#judge();
    this.#timer = this.#options.clock.setTimer(lookMs, () => void this.#look());
  }

  /** None where the journal does not let itself be asked: a write has failed, and says so by itself. */
  #freePages(): ReturnType<DiskSpaceOptions['freePages']> {
    try {
      return this.#options.freePages();
    } catch {
      return { freeBytes: 0, fileBytes: Infinity };
    }
  }

  #judge(): void {
    const isLow = this.#freeBytes < this.#options.reserveBytes;
    if (isLow === this.#isLow) return;
    this.#isLow = isLow;
    this.#options.onChange(isLow, this.#freeBytes);
  }
}
