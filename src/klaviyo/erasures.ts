import type { Outcome } from '../model/outcome.js';
import { isRecord, toResources, tryParseJson } from './documents.js';
import { toFailureOutcome, toOutcomes } from './response.js';
import type { Transport, TransportResponse } from './transport.js';

/** What to send for an erasure, or what became of it without a deletion. */
export type ResolvedErasure =
  | { readonly kind: 'send'; readonly payload: Uint8Array }
  | {
      readonly kind: 'done';
      readonly response: TransportResponse;
      readonly outcome: Outcome;
    };

/**
 * Klaviyo deletes by e-mail address, phone number or its own id of a profile. For an external id, this looks
 * up the profile. Its request counts for Klaviyo's limit of profile reads, which is higher than that of
 * deletions, so the permit of the deletion bounds it as well. Without a profile there is nothing to delete.
 */
export async function resolveErasure(
  payload: Uint8Array,
  { transport, now }: { readonly transport: Transport; readonly now: () => number },
): Promise<ResolvedErasure> {
  const externalId = readExternalId(payload);
  if (externalId === undefined) return { kind: 'send', payload };
  const response = await transport({ method: 'GET', path: toLookupPath(externalId) });
  if (!response.ok) return { kind: 'done', response, outcome: toFailureOutcome(response) };
  const profiles =
    response.status === 200 && response.isWhole
      ? toResources(tryParseJson(response.bodyText), 'profile')
      : null;
  if (profiles === null) {
    const [outcome] = toOutcomes({ ...response, lane: 'erase', count: 1, now: now() });
    return { kind: 'done', response, outcome: outcome ?? { kind: 'delivered' } };
  }
  const id = profiles[0]?.id;
  if (typeof id !== 'string') return { kind: 'done', response, outcome: { kind: 'delivered' } };
  const element = JSON.stringify({ type: 'profile', id, attributes: {} });
  return { kind: 'send', payload: Buffer.from(element) };
}

function readExternalId(payload: Uint8Array): string | undefined {
  const element = tryParseJson(Buffer.from(payload).toString());
  const attributes = isRecord(element) ? element.attributes : undefined;
  const id = isRecord(attributes) ? attributes.external_id : undefined;
  return typeof id === 'string' ? id : undefined;
}

function toLookupPath(externalId: string): string {
  const quoted = externalId.replaceAll('\\', '\\\\').replaceAll('"', '\\"');
  const query = new URLSearchParams({
    filter: `equals(external_id,"${quoted}")`,
    'fields[profile]': 'external_id',
  });
  return `/api/profiles?${query.toString()}`;
}
