import { createToE164 } from '../../ingest/phone.js';
import type { Decision, SourceEntry } from '../../ingest/source-entry.js';
import type { JsonObject } from '../../json/json.js';
import { asId, asList, asObject, asText, compact } from '../json.js';
import type { SegmentCall } from './calls.js';
import { findCountry, identifyCallPerson, mergeTraits, readCallPerson } from './person.js';

/**
 * Reads what a call decides about consents, as RudderStack's Klaviyo destination defines it: `subscribe` (true
 * or false), `listId`, and `consent` with channels, in `traits.properties`, `traits` or `integrations.Klaviyo`.
 * A group call names the list as `groupId`.
 */

type Channel = Decision['channel'];

export type ConsentSignal = {
  readonly isSubscription: boolean;
  /** Empty: the call names none. */
  readonly channels: readonly Channel[];
  readonly listId: string | undefined;
};

/** Returns undefined if the call has no consent, or only for channels that the relay does not support. */
export function readConsentSignal(call: SegmentCall): ConsentSignal | undefined {
  const traits = mergeTraits(call);
  const places = [asObject(traits.properties), traits, asObject(call.integrations.Klaviyo)];
  const answers = places.map(({ subscribe }) => readAnswer(subscribe));
  const isSubscription = !answers.includes(false);
  if (isSubscription && !answers.includes(true)) return undefined;
  const named = places.find(({ consent }) => consent !== undefined && consent !== null)?.consent;
  const hasSms = places.some(({ smsConsent }) => smsConsent === true);
  const channels = [...readChannels(named), ...(hasSms ? (['sms'] as const) : [])];
  if (isSubscription && named !== undefined && channels.length === 0) return undefined;
  const listId = places.map(({ listId: id }) => asId(id)).find((id) => id !== undefined);
  return { isSubscription, channels: [...new Set(channels)], listId };
}

/** True or false, also as text: calls in a query have no other values. */
function readAnswer(value: unknown): boolean | undefined {
  if (value === true || value === 'true') return true;
  return value === false || value === 'false' ? false : undefined;
}

function readChannels(named: unknown): readonly Channel[] {
  const texts = (Array.isArray(named) ? asList(named) : [named]).map((each) =>
    asText(each)?.trim().toLowerCase(),
  );
  return (['email', 'sms'] as const).filter((channel) => texts.includes(channel));
}

type Options = {
  readonly isRemembered: boolean;
  /** Of a group call: the name of the group, which takes the place of the list. */
  readonly group?: string | undefined;
  readonly part: Pick<SourceEntry, 'index' | 'kind' | 'id'>;
};

/**
 * Creates an entry for each channel. A subscription that names no channel is one to e-mail: a consent to SMS
 * is never derived. A refusal that names no channel is one of each channel whose address the call has.
 */
export function createDecisionEntries(
  call: SegmentCall,
  { isSubscription, channels, listId }: ConsentSignal,
  { isRemembered, group, part }: Options,
): readonly SourceEntry[] {
  const { email, phone_number: phone, distinct_id: id } = readCallPerson(call);
  const { personKeys, fallback } = identifyCallPerson(call, isRemembered);
  const reached: readonly Channel[] =
    isSubscription || phone === undefined
      ? ['email']
      : email === undefined && fallback === undefined
        ? ['sms']
        : ['email', 'sms'];
  const number = phone === undefined ? undefined : (toE164(phone, findCountry(call)) ?? phone);
  const time = isSubscription ? 'consented_at' : 'unsubscribed_at';
  return (channels.length > 0 ? channels : reached).map((channel) => ({
    ...part,
    lane: isSubscription ? 'subscribe' : 'unsubscribe',
    entry: compact({
      ...(channel === 'email' ? { email } : { phone_number: number }),
      distinct_id: id,
      [time]: call.time.time,
    }),
    ...(personKeys && { personKeys }),
    ...(channel === 'email' && fallback && { fallback }),
    decision: { channel, ...(group === undefined ? { listId } : { group }) },
  }));
}

/** Without a default country, which the pipeline applies to what is left. */
const toE164 = createToE164();

/**
 * The categories that the person refused: `consent.categoryPreferences` of Segment's consent management, and
 * `consentManagement.deniedConsentIds` of RudderStack's.
 */
export function readRefusedCategories({ context }: SegmentCall): readonly string[] {
  const { categoryPreferences } = asObject(context.consent);
  const preferences: JsonObject = asObject(categoryPreferences);
  const denied = asList(asObject(context.consentManagement).deniedConsentIds).map(asId);
  return [
    ...Object.keys(preferences).filter((name) => preferences[name] === false),
    ...denied.filter((id) => id !== undefined),
  ];
}
