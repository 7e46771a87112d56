import { isJsonObject, type JsonObject } from '../../json/json.js';
import { isEmail } from '../../ingest/schema.js';
import type {
  KnownPerson,
  Skipped,
  SourceEntry,
  SourcePost,
  SourceWarning,
} from '../../ingest/source-entry.js';
import { asId, asObject, asText, compact } from '../json.js';
import {
  listBatch,
  listOne,
  type CallType,
  type NoCall,
  type SegmentBody,
  type SegmentCall,
} from './calls.js';
import { toCommerce, type Commerce, type Order, type OrderedProduct } from './ecommerce.js';
import { readFields } from './fields.js';
import { readEventName } from './names.js';
import { toCountry, toDevice, toIdentity, toPerson, toPersonKey, toUserId } from './person.js';
import { readOrderId, readRevenue, toInsertId } from './revenue.js';
import type { SegmentSettings } from './settings.js';
import { readProfile } from './traits.js';

export type SegmentRequest = SegmentBody & {
  /** What its path says it is. */
  readonly kind: 'batch' | CallType;
  /** Epoch ms. */
  readonly receivedAt: number;
  readonly settings: SegmentSettings;
};

/** What the map makes of a request of a Segment or RudderStack SDK. */
export type SegmentPost =
  | {
      readonly ok: true;
      readonly post: SourcePost;
      /** Parts that are no call, and so never become an entry. */
      readonly noCalls: readonly NoCall[];
      /** The `messageId` of each call, by the index of the call in the batch. */
      readonly messageIds: readonly (string | undefined)[];
    }
  | { readonly ok: false; readonly detail: string };

/**
 * Pure, and never throws. Calls by Segment's specification; see upstream-contracts 4 for what SDKs really
 * send. Some work on one call is a step.
 */
export function* toSegmentPost(request: SegmentRequest): Generator<undefined, SegmentPost> {
  const { kind, receivedAt } = request;
  // RudderStack's SDKs may post a batch to the path of a single call, such as /v1/merge.
  const isBatch = kind === 'batch' || Array.isArray(asObject(request.value).batch);
  const listed = isBatch
    ? yield* listBatch(request, receivedAt)
    : listOne(request, kind, receivedAt);
  if (!listed.ok) return listed;
  const entries: SourceEntry[] = [];
  const people: KnownPerson[] = [];
  const skipped: Skipped[] = [];
  for (const call of listed.calls) {
    yield;
    const reason = toSkipReason(call, request);
    if (reason !== null) {
      skipped.push({ reason, ...toPart(call) });
      continue;
    }
    const isIdentify = call.type === 'identify';
    entries.push(...(isIdentify ? toProfileEntries(call, request) : toEvents(call, request)));
    people.push(...toKnown(call, request));
  }
  const { noCalls, messageIds } = listed;
  return {
    ok: true,
    post: { source: 'segment', entries, people, skipped },
    noCalls,
    messageIds,
  };
}

function toSkipReason(call: SegmentCall, { settings }: SegmentRequest): string | null {
  const { type } = call;
  if (isOff(call.integrations)) return 'integration_off';
  if (type === 'group' || type === 'alias' || type === 'merge') return type;
  if ((type === 'page' || type === 'screen') && !settings.SEGMENT_PAGE_EVENTS) return 'page_off';
  // Klaviyo accepts an anonymous id on events alone: traits of a visitor have no place there.
  return type === 'identify' && isAnonymous(call) ? 'anonymous' : null;
}

function isAnonymous(call: SegmentCall): boolean {
  const isUnknown = toUserId(call) === undefined && Object.keys(toPerson(call)).length === 0;
  return isUnknown && toDevice(call) !== undefined;
}

/** Segment's filter: `All` for every destination that is not named. Options of Klaviyo, an object, mean that it is on. */
function isOff({ All: all, Klaviyo: klaviyo }: JsonObject): boolean {
  return klaviyo === undefined || klaviyo === null ? all === false : klaviyo === false;
}

function toPart({ type, fields }: SegmentCall) {
  return { kind: type, id: asId(fields.messageId) };
}

/**
 * The profile, and, of a visitor's browser or app, an event that has Klaviyo join the visitor's earlier
 * events to the person. The pipeline leaves that event out where there is nothing to join.
 */
function toProfileEntries(call: SegmentCall, { settings }: SegmentRequest): SourceEntry[] {
  const { person, personKeys, fallback, repeatedPhone, device } = toIdentity(
    call,
    settings.SEGMENT_REMEMBER_USERS,
  );
  const { entry, warnings } = readProfile(call);
  const part = { index: call.index, ...toPart(call) };
  const named = { ...(fallback && { fallback, ...(personKeys && { personKeys }) }) };
  const profile: SourceEntry = {
    ...part,
    lane: 'profiles',
    entry,
    ...named,
    ...toWarnings(warnings),
    ...(device && { device }),
  };
  if (device === undefined) return [profile];
  const who = person.distinct_id ?? person.email ?? fallback?.email ?? repeatedPhone?.number ?? '';
  const join: SourceEntry = {
    ...part,
    lane: 'events',
    entry: compact({
      event_name: 'Identified',
      ...person,
      event_time: call.time.time,
      insert_id: toInsertId(`${device.id}/${who.toLowerCase()}/Identified`),
    }),
    ...named,
    ...(repeatedPhone && { repeatedPhone }),
    device: { ...device, isJoin: true },
  };
  return [profile, join];
}

/** An identify call without address and number must not take the place of an earlier one with them. */
function toKnown(call: SegmentCall, { settings }: SegmentRequest): readonly KnownPerson[] {
  const userId = toUserId(call);
  const { email, phone_number: phone, distinct_id: id } = toPerson(call);
  const tells = email !== undefined || phone !== undefined;
  const isKept = settings.SEGMENT_REMEMBER_USERS;
  if (!isKept || call.type !== 'identify' || userId === undefined || !tells) return [];
  // By the id alone a later call names the person anyway.
  const isReached = email !== undefined && isEmail(email);
  const person = compact({ email, phone_number: phone, distinct_id: isReached ? id : undefined });
  const country = toCountry(call);
  return [{ kind: 'user', key: toPersonKey(userId), person, ...(country && { country }) }];
}

function toEvents(call: SegmentCall, { settings }: SegmentRequest): SourceEntry[] {
  const { fields, time, index } = call;
  const given = asObject(fields.properties);
  const readable = readFields(given, ['properties']);
  const name = readEventName(call);
  const money = readRevenue(name.name, readable, settings);
  const { id: orderId, key } = readOrderId(name.name, readable);
  const commerce = readCommerce(call, { properties: given, fields: readable, orderId }, settings);
  const metric = commerce?.metric ?? name.name;
  const messageId = asId(fields.messageId);
  const orderKey = settings.SEGMENT_ORDER_IDS ? key : undefined;
  const { person, ...identity } = toIdentity(call, settings.SEGMENT_REMEMBER_USERS);
  const properties = { ...name.kept, ...time.kept, ...(commerce?.properties ?? given) };
  const isAnyGiven = isJsonObject(fields.properties) || Object.keys(properties).length > 0;
  const read = [name, time, money, ...(commerce === null ? [] : [commerce])];
  const event: SourceEntry = {
    index,
    ...toPart(call),
    lane: 'events',
    ...identity,
    entry: compact({
      event_name: metric,
      ...person,
      event_time: time.time,
      insert_id: toInsertId(orderKey === undefined ? messageId : `${orderKey}/${metric ?? ''}`),
      properties: isAnyGiven ? properties : undefined,
      ...money.fields,
      order_id: orderId,
    }),
  };
  const ordered = (commerce?.ordered ?? []).map((product) =>
    toOrderedEvent(event, product, orderKey ?? messageId),
  );
  return [{ ...event, ...toWarnings(read.flatMap(({ warnings }) => warnings)) }, ...ordered];
}

function readCommerce(
  { type, fields }: SegmentCall,
  order: Order,
  { SEGMENT_ECOMMERCE: names }: SegmentSettings,
): Commerce | null {
  const event = asText(fields.event);
  const isMapped = type === 'track' && names === 'klaviyo' && event !== undefined;
  return isMapped ? toCommerce(event, order) : null;
}

function toWarnings(warnings: readonly SourceWarning[]): Pick<SourceEntry, 'warnings'> {
  return warnings.length === 0 ? {} : { warnings };
}

/** What `order` and this event have in common is whom they are about and when it was. */
function toOrderedEvent(
  order: SourceEntry,
  { key, properties, value, currency, warnings }: OrderedProduct,
  orderKey: string | undefined,
): SourceEntry {
  const { email, distinct_id, phone_number, event_time, order_id } = order.entry;
  return {
    ...order,
    entry: compact({
      event_name: 'Ordered Product',
      ...{ email, distinct_id, phone_number, event_time, order_id, properties, value },
      currency: value === undefined ? undefined : currency,
      insert_id: orderKey && toInsertId(`${orderKey}/Ordered Product/${key}`),
    }),
    ...toWarnings(warnings),
  };
}
