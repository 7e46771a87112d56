import { KeyIndex } from './key-index.js';
import {
  blockingLanes,
  laneTraits,
  mapStoreLanes,
  storeLanes,
  type StoreLane,
} from '../model/lane.js';
import { findPersonKeys } from './person.js';

/** An envelope with its place in the order of its lane, and of the lanes that are numbered with it. */
type Ordered = { readonly seq: number; readonly keys: readonly string[] };

/** What the order must know of a lane. */
export type OrderedLane = {
  /** The number of the first envelope that is on disk only; Infinity if there is none. */
  firstOnDisk(): number;
  /** Examines again the envelopes that wait for `name`. */
  wake(name: string): void;
};

/** The lanes that other lanes wait for. */
const awaited: ReadonlySet<string> = new Set([
  ...storeLanes.flatMap((lane) => laneTraits[lane].after ?? []),
  ...blockingLanes,
]);

/**
 * The order of one person's envelopes across lanes: a profile before the subscription that was accepted
 * after it, for example. Within a lane, `LaneQueue` keeps the order.
 *
 * Lanes that wait for each other draw their numbers from one counter, so a smaller number was accepted
 * earlier. An envelope may be claimed if no unsettled envelope with a smaller number in the lanes of
 * `after` shares an identity key with it. Envelopes that are on disk only could share any key, so it also
 * waits until the earlier ones of these lanes are in memory.
 *
 * An envelope waits under a name: `LANE KEY` for an envelope of that lane with that key, `LANE` for the
 * lane's envelopes on disk. It only ever waits for a smaller number, so no two envelopes wait for each
 * other.
 *
 * An unsettled erasure blocks its person in all other lanes, whatever the numbers: what was accepted before
 * it is removed, and what was accepted after it is sent after it. An erasure itself waits for no other lane,
 * so nothing waits forever. All unsettled erasures are in memory.
 */
export class PersonOrder {
  readonly #indexes = mapStoreLanes((lane) => (awaited.has(lane) ? new KeyIndex() : null));
  readonly #lanes = new Map<StoreLane, OrderedLane>();
  /** The lanes that have envelopes waiting under a name. */
  readonly #waiting = new Map<string, Set<StoreLane>>();
  #isHeld = false;

  addLane(lane: StoreLane, ordered: OrderedLane): void {
    this.#lanes.set(lane, ordered);
  }

  /** Notes an unsettled envelope that is in memory now. */
  add(lane: StoreLane, { seq, keys }: Ordered): void {
    this.#indexes[lane]?.add(keys, seq);
  }

  /** Notes that an envelope is settled. */
  remove(lane: StoreLane, envelopes: readonly Ordered[]): void {
    const index = this.#indexes[lane];
    if (index === null) return;
    for (const { seq, keys } of envelopes) index.remove(keys, seq);
    if (this.#waiting.size === 0) return;
    for (const { keys } of envelopes) for (const key of keys) this.#wake(`${lane} ${key}`);
  }

  /** Notes that envelopes of the lane were loaded from disk. */
  noteLoaded(lane: StoreLane): void {
    if (this.#waiting.size > 0) this.#wake(lane);
  }

  /**
   * Returns the name of what the envelope has to wait for; undefined if it may be claimed now. The caller
   * keeps the envelope until `OrderedLane.wake` is called with this name.
   */
  findEarlier(
    lane: StoreLane,
    queued: Ordered & { readonly payload: Uint8Array },
  ): string | undefined {
    const name = this.#findBlocking(lane, queued) ?? this.#findAwaited(lane, queued);
    if (name === undefined) return undefined;
    const lanes = this.#waiting.get(name);
    if (lanes === undefined) this.#waiting.set(name, new Set([lane]));
    else lanes.add(lane);
    return name;
  }

  /**
   * While the order is held, every envelope that could have to wait for another lane waits. The journal
   * holds it while it adds committed envelopes to one lane after the other.
   */
  hold(): void {
    this.#isHeld = true;
  }

  release(): void {
    this.#isHeld = false;
    this.#wake(heldName);
  }

  #findAwaited(lane: StoreLane, { seq, keys }: Ordered): string | undefined {
    const { after } = laneTraits[lane];
    if (after === undefined) return undefined;
    return this.#isHeld ? heldName : this.#findIn(after as readonly StoreLane[], seq, keys);
  }

  #findBlocking(
    lane: StoreLane,
    queued: { readonly keys: readonly string[]; readonly payload: Uint8Array },
  ): string | undefined {
    for (const other of blockingLanes) {
      const index = this.#indexes[other];
      if (other === lane || index === null || index.isEmpty) continue;
      const key = findPersonKeys(lane, queued).find((each) => index.first(each) !== undefined);
      if (key !== undefined) return `${other} ${key}`;
    }
    return undefined;
  }

  #findIn(after: readonly StoreLane[], seq: number, keys: readonly string[]): string | undefined {
    for (const other of after) {
      if ((this.#lanes.get(other)?.firstOnDisk() ?? Infinity) < seq) return other;
      const index = this.#indexes[other];
      const key = keys.find((each) => (index?.first(each) ?? Infinity) < seq);
      if (key !== undefined) return `${other} ${key}`;
    }
    return undefined;
  }

  #wake(name: string): void {
    const lanes = this.#waiting.get(name);
    if (lanes === undefined) return;
    this.#waiting.delete(name);
    for (const lane of lanes) this.#lanes.get(lane)?.wake(name);
  }
}

/** No lane has this name. */
const heldName = '*';
