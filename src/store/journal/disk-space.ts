import type { Clock, Timer } from '../../clock.js';

export type DiskSpaceOptions = {
  readonly clock: Clock;
  /** Bytes that this process can still write to the volume. */
  readonly freeBytes: () => Promise<number>;
  /** Length of the journal's file, and its unused bytes. */
  readonly freePages: () => { readonly fileBytes: number; readonly freeBytes: number };
  /** Intake stops below this, since settlements and other users of the volume need space. */
  readonly reserveBytes: number;
  /** Called at each change. */
  readonly onChange: (isLow: boolean, freeBytes: number) => void;
};

const checkMs = 1000;
/**
 * Free pages may be too scattered for the next write, so that the file grows although it has some. Below this share
 * of the reserve, they count only if most of the file is free.
 */
const floorShare = 1 / 4;
const mostlyFree = 1 / 2;
export const diskRetryAfterMs = 5000;

/**
 * Checks the volume's free space every second, so that intake stops before a write fails. Between two checks,
 * accepted bytes are subtracted.
 */
export class DiskSpace {
  readonly #options: DiskSpaceOptions;
  #freeBytes = Infinity;
  #isLow = false;
  #timer: Timer | null = null;
  #isClosed = false;

  constructor(options: DiskSpaceOptions) {
    this.#options = options;
  }

  /** Resolves after the first check. */
  async start(): Promise<void> {
    await this.#check();
  }

  isLow(): boolean {
    return this.#isLow;
  }

  /** Returns the free bytes now; Infinity if the volume cannot be queried. */
  async freeBytes(): Promise<number> {
    try {
      return await this.#options.freeBytes();
    } catch {
      return Infinity;
    }
  }

  recordWrite(bytes: number): void {
    this.#freeBytes = Math.max(0, this.#freeBytes - bytes);
    this.#update();
  }

  /** Records that a write failed because the volume was full, whatever the last check returned. */
  recordFailure(): void {
    this.#freeBytes = -1;
    this.#update();
  }

  close(): void {
    this.#isClosed = true;
    this.#timer?.cancel();
  }

  async #check(): Promise<void> {
    // If the query fails, the volume counts as free; a full one fails the writes.
    const onVolume = await this.freeBytes();
    if (this.#isClosed) return;
    const inFile = this.#freePages();
    const countsPages =
      onVolume >= this.#options.reserveBytes * floorShare ||
      inFile.freeBytes >= inFile.fileBytes * mostlyFree;
    this.#freeBytes = onVolume + (countsPages ? inFile.freeBytes : 0);
    this.#update();
    this.#timer = this.#options.clock.setTimer(checkMs, () => void this.#check());
  }

  /** Returns no free pages if the journal cannot be read: then a write has failed and is handled there. */
  #freePages(): ReturnType<DiskSpaceOptions['freePages']> {
    try {
      return this.#options.freePages();
    } catch {
      return { freeBytes: 0, fileBytes: Infinity };
    }
  }

  #update(): void {
    const isLow = this.#freeBytes < this.#options.reserveBytes;
    if (isLow === this.#isLow) return;
    this.#isLow = isLow;
    this.#options.onChange(isLow, this.#freeBytes);
  }
}
