import { draftSourceEntry } from '../../../src/ingest/draft-source-entry.js';
import { createToE164 } from '../../../src/ingest/phone.js';
import type { SourceEntry, SourcePost } from '../../../src/ingest/source-entry.js';
import { parseJson } from '../../../src/json/json.js';
import { receivedAt, toJson } from '../../ingest/fixture.js';
import { newestRules } from '../../support/revisions.js';
import { shop } from '../../support/shopify.js';
import { mapShopifyWebhook } from '../../../src/sources/shopify/map.js';
import type { OrderValue, PendingRefunds } from '../../../src/sources/shopify/payload.js';

type Settings = { readonly orderValue?: OrderValue; readonly pendingRefunds?: PendingRefunds };

/**
 * The result of a webhook without facts of earlier ones. `payload` is a value, or JSON text if its
 * digits matter.
 */
export function mapTopic(
  topic: string,
  payload: unknown,
  { orderValue = 'total', pendingRefunds = 'wait' }: Settings = {},
): SourcePost {
  const text = typeof payload === 'string' ? payload : JSON.stringify(payload);
  const parsed = parseJson(text);
  if (!parsed.ok) throw new Error(parsed.issue.detail);
  const settings = { orderValue, pendingRefunds };
  const request = { topic, shop, delivery: 'wh-1', body: parsed.value, ...settings };
  const { ledger, ...post } = mapShopifyWebhook(request);
  const { entries = [], skipped = [] } = ledger?.resolve(null) ?? {};
  return {
    ...post,
    entries: [...post.entries, ...entries],
    skipped: [...post.skipped, ...skipped],
  };
}

export function entriesOf(
  topic: string,
  payload: unknown,
  settings?: Settings,
): readonly SourceEntry['entry'][] {
  return mapTopic(topic, payload, settings).entries.map(({ entry }) => entry);
}

/** The payload for Klaviyo, or the reason of the dead letter. */
export function sentOf(topic: string, payload: unknown): readonly unknown[] {
  const context = {
    acceptedAt: receivedAt,
    newId: () => 'made',
    toE164: createToE164(),
    rules: newestRules,
    backfillBefore: -Infinity,
  };
  return mapTopic(topic, payload).entries.map((entry) => {
    const { draft } = draftSourceEntry('shopify', entry, context);
    return draft.deadLetterReason === undefined
      ? toJson(draft.payload)
      : draft.deadLetterReason.code;
  });
}
