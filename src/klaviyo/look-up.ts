import type { Lane } from '../model/lane.js';
import type { Outcome } from '../model/outcome.js';
import { toFoundProfiles, tryParseJson, type FoundProfile } from './documents.js';
import { getLaneApi } from './lanes/list.js';
import { toRequestOutcomes } from './response.js';
import type { Transport, TransportResponse } from './transport.js';

/** What to send for the payloads of a request, or what became of them without it. */
export type LookedUp =
  | {
      readonly kind: 'send';
      /** Each once. */
      readonly elements: readonly Uint8Array[];
      /** Turns the outcomes of the elements into one for each payload. */
      toOutcomes(ofElements: readonly Outcome[]): readonly Outcome[];
    }
  | {
      readonly kind: 'done';
      /** The last response to a look-up. */
      readonly response: TransportResponse;
      readonly outcomes: readonly Outcome[];
    };

/** Makes the look-ups that a request of the lane needs (`LookUp` in lanes/lane.ts), one after the other. */
export async function lookUp(
  lane: Lane,
  payloads: readonly Uint8Array[],
  { transport, now }: { readonly transport: Transport; readonly now: () => number },
): Promise<LookedUp> {
  const api = getLaneApi(lane);
  const profiles: FoundProfile[] = [];
  let last: TransportResponse | undefined;
  for (const path of api.lookUp?.toPaths(payloads) ?? []) {
    last = await transport({ method: 'GET', path });
    const found = readProfiles(last);
    if (found === null) {
      const request = { lane, count: payloads.length, now: now(), isLookUp: true };
      return { kind: 'done', response: last, outcomes: toRequestOutcomes(last, request) };
    }
    profiles.push(...found);
  }
  if (api.lookUp === undefined || last === undefined)
    return { kind: 'send', elements: payloads, toOutcomes: (outcomes) => outcomes };
  const own = api.lookUp.toElements(payloads, profiles);
  const elements = [...new Set(own.flat())];
  if (elements.length === 0)
    return { kind: 'done', response: last, outcomes: payloads.map(() => delivered) };
  return {
    kind: 'send',
    elements: elements.map((element) => Buffer.from(element)),
    toOutcomes(ofElements) {
      const byElement = new Map(elements.map((element, index) => [element, ofElements[index]]));
      const unchanged = findLaneFailure(ofElements) ?? delivered;
      return own.map((each) => {
        const outcomes = each.flatMap((element) => byElement.get(element) ?? []);
        return outcomes.find(({ kind }) => kind !== 'delivered') ?? outcomes[0] ?? unchanged;
      });
    },
  };
}

const delivered: Outcome = { kind: 'delivered' };

/**
 * Returns the outcome if it is a failure of the whole request. All payloads then get it, because the delivery
 * half pauses or retries whole requests. A rejection concerns only the payloads that were sent: for the others,
 * Klaviyo has nothing to change.
 */
function findLaneFailure([outcome]: readonly Outcome[]): Outcome | undefined {
  switch (outcome?.kind) {
    case 'throttled':
    case 'blocked':
    case 'retryable':
      return outcome;
    default:
      return undefined;
  }
}

const readProfiles = (response: TransportResponse): readonly FoundProfile[] | null =>
  response.ok && response.status === 200 && response.isWhole
    ? toFoundProfiles(tryParseJson(response.bodyText))
    : null;
