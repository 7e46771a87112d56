import type { HttpViews, ShownPerson, ShownReceipt } from '../http/deps.js';
import { readPersonQuery } from '../ingest/draft-erasure.js';
import { findErasureOf, getErasureRecord } from '../ingest/erasure.js';
import { createToE164 } from '../ingest/phone.js';
import type { PersonQuery, Receipt, Store } from '../model/store.js';
import { fromId } from '../store/ids.js';

type PrivacyViewDeps = {
  readonly store: Pick<Store, 'receipt' | 'delivery' | 'findPerson' | 'getFacts'>;
  readonly defaultCountry: string | undefined;
};

/** What operators can look up about a person and about erasures. */
export function createPrivacyViews({
  store,
  defaultCountry,
}: PrivacyViewDeps): Pick<HttpViews, 'receipt' | 'person' | 'personByHash'> {
  const toE164 = createToE164(defaultCountry);
  const getFacts: Store['getFacts'] = (keys) => store.getFacts(keys);

  const findErased = async (id: string): Promise<ShownReceipt | null> => {
    const lane = fromId(id)?.lane;
    const record = lane === undefined ? null : await findErasureOf(id, getFacts);
    if (lane === undefined || record === null) return null;
    const nothing = { deliveryId: null, reason: null, merged: false };
    return { id, lane, state: 'erased', ...nothing, erasedBy: record.erasure };
  };

  const findPerson = async (query: PersonQuery): Promise<ShownPerson> => {
    const { envelopes, deadLetters, facts } = await store.findPerson(query);
    const record = await getErasureRecord(query.key, getFacts);
    return {
      hash: query.key,
      held: {
        envelopes: envelopes.filter(({ lane }) => lane !== 'erase'),
        deadLetters,
        facts,
      },
      erasures: envelopes.flatMap(({ lane, id }) => (lane === 'erase' ? [id] : [])),
      erased: record && { id: record.erasure, at: record.at },
    };
  };

  return {
    async receipt(id) {
      const receipt = await store.receipt(id);
      if (receipt === null) return findErased(id);
      if (receipt.lane !== 'erase') return toShownReceipt(receipt);
      const record = await getErasureRecord(id, getFacts);
      const klaviyo = await readDeletionState(receipt, store);
      return { ...receipt, erasure: { removed: record, klaviyo } };
    },
    async person(posted) {
      const query = readPersonQuery(posted, toE164);
      return query.ok ? { ok: true, person: await findPerson(query.person) } : query;
    },
    personByHash: (hash) => findPerson({ key: hash }),
  };
}

/** The relay claims an entry of the lane `waiting` to ingest it again. No request to Klaviyo carries it. */
function toShownReceipt(receipt: Receipt): Receipt {
  return receipt.lane === 'waiting' ? { ...receipt, state: 'buffered' } : receipt;
}

/** An erasure that ended with a look-up had no profile to delete. */
async function readDeletionState(
  { state, deliveryId }: Receipt,
  store: Pick<Store, 'delivery'>,
): Promise<NonNullable<ShownReceipt['erasure']>['klaviyo']> {
  if (state === 'dead_lettered') return 'rejected';
  if (state !== 'delivered') return 'pending';
  const delivery = deliveryId === null ? null : await store.delivery(deliveryId);
  return delivery?.status === 200 ? 'no_profile' : 'requested';
}
