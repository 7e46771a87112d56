import { isEmail } from '../../ingest/schema.js';
import type {
  KnownPerson,
  Skipped,
  SourceEntry,
  SourcePost,
  SourceWarning,
} from '../../ingest/source-entry.js';
import { isJsonObject, type JsonObject } from '../../json/json.js';
import { asId, asObject, asText, compact } from '../json.js';
import {
  readBatchCalls,
  readSingleCall,
  type CallType,
  type InvalidCall,
  type SegmentBody,
  type SegmentCall,
} from './calls.js';
import {
  mapCommerceEvent,
  type CommerceEvent,
  type Order,
  type OrderedProduct,
} from './ecommerce.js';
import { createDecisionEntries, readConsentSignal, readRefusedCategories } from './consent.js';
import { readEventName, readOrderId, readRevenue, shortenInsertId } from './event-fields.js';
import {
  findCountry,
  identifyCallPerson,
  readCallPerson,
  readDevice,
  readUserId,
  userPersonKey,
} from './person.js';
import type { SegmentSettings } from './settings.js';
import { createFieldFinder } from './spellings.js';
import { readProfile } from './traits.js';

export type SegmentRequest = SegmentBody & {
  /** The kind of body that the path names. */
  readonly kind: 'batch' | CallType;
  /** Epoch ms. */
  readonly receivedAt: number;
  readonly settings: SegmentSettings;
};

/** The result of the map for a request of a Segment or RudderStack SDK. */
export type MappedSegmentRequest =
  | {
      readonly ok: true;
      readonly post: SourcePost;
      /** Parts that are not calls, and never become entries. */
      readonly invalidCalls: readonly InvalidCall[];
      /** The `messageId` of each call, by the index of the call in the batch. */
      readonly messageIds: readonly (string | undefined)[];
    }
  | { readonly ok: false; readonly detail: string };

/**
 * Maps a request. Pure, and never throws. Calls follow Segment's specification; upstream-contracts 4
 * describes what SDKs really send. The generator yields for each call, so that a long batch can run in slices.
 */
export function* mapSegmentRequest(
  request: SegmentRequest,
): Generator<undefined, MappedSegmentRequest> {
  const { kind, receivedAt } = request;
  // RudderStack's SDKs may post a batch to the path of a single call, such as /v1/merge.
  const isBatch = kind === 'batch' || Array.isArray(asObject(request.value).batch);
  const listed = isBatch
    ? yield* readBatchCalls(request, receivedAt)
    : readSingleCall(request, kind, receivedAt);
  if (!listed.ok) return listed;
  const entries: SourceEntry[] = [];
  const people: KnownPerson[] = [];
  const skipped: Skipped[] = [];
  for (const call of listed.calls) {
    yield;
    const reason = findCallSkipReason(call, request);
    if (reason !== null) {
      skipped.push({ reason, ...describeCall(call) });
      continue;
    }
    const refusedCategories = readRefusedCategories(call);
    const refused = refusedCategories.length > 0 && { refusedCategories };
    entries.push(...createEntries(call, request).map((entry) => ({ ...entry, ...refused })));
    people.push(...listKnownUsers(call, request).map((user) => ({ ...user, ...refused })));
  }
  const { invalidCalls: invalidCalls, messageIds } = listed;
  return {
    ok: true,
    post: { source: 'segment', entries, people, skipped },
    invalidCalls: invalidCalls,
    messageIds,
  };
}

function createEntries(call: SegmentCall, request: SegmentRequest): readonly SourceEntry[] {
  if (call.type === 'identify') return createProfileEntries(call, request);
  return call.type === 'group'
    ? createGroupEntries(call, request)
    : createEventEntries(call, request);
}

/** A group call that subscribes or unsubscribes the user. */
function createGroupEntries(
  call: SegmentCall,
  { settings }: SegmentRequest,
): readonly SourceEntry[] {
  const signal = readConsentSignal(call);
  if (signal === undefined) return [];
  return createDecisionEntries(call, signal, {
    isRemembered: settings.SEGMENT_REMEMBER_USERS,
    group: asId(call.fields.groupId),
    part: { index: call.index, ...describeCall(call) },
  });
}

function findCallSkipReason(call: SegmentCall, { settings }: SegmentRequest): string | null {
  const { type } = call;
  if (isKlaviyoOff(call.integrations)) return 'integration_off';
  if (type === 'alias' || type === 'merge') return type;
  if (type === 'group') return isListChange(call) ? null : type;
  if ((type === 'page' || type === 'screen') && !settings.SEGMENT_PAGE_EVENTS) return 'page_off';
  // Klaviyo accepts an anonymous id on events alone, so it has no profile for the traits of a visitor.
  return type === 'identify' && isAnonymousVisitor(call) ? 'anonymous' : null;
}

/** Returns true for a group call that says whether the user is subscribed. Other groups are nothing to Klaviyo. */
function isListChange(call: SegmentCall): boolean {
  return asId(call.fields.groupId) !== undefined && readConsentSignal(call) !== undefined;
}

function isAnonymousVisitor(call: SegmentCall): boolean {
  const isUnknown =
    readUserId(call) === undefined && Object.keys(readCallPerson(call)).length === 0;
  return isUnknown && readDevice(call) !== undefined;
}

/** Applies Segment's filter: `All` holds for every destination that is not named. An object of options means on. */
function isKlaviyoOff({ All: all, Klaviyo: klaviyo }: JsonObject): boolean {
  return klaviyo === undefined || klaviyo === null ? all === false : klaviyo === false;
}

function describeCall({ type, fields }: SegmentCall) {
  return { kind: type, id: asId(fields.messageId) };
}

/**
 * Creates the profile, what the call decides about consents and, for a call with a device, an event that makes Klaviyo join the earlier events of
 * the device to the person. The pipeline drops that event if there is nothing to join.
 */
function createProfileEntries(call: SegmentCall, { settings }: SegmentRequest): SourceEntry[] {
  const { person, personKeys, fallback, repeatedPhone, device } = identifyCallPerson(
    call,
    settings.SEGMENT_REMEMBER_USERS,
  );
  const signal = readConsentSignal(call);
  const { entry, warnings } = readProfile(call, signal !== undefined);
  const part = { index: call.index, ...describeCall(call) };
  const named = { ...(fallback && { fallback, ...(personKeys && { personKeys }) }) };
  const profile: SourceEntry = {
    ...part,
    lane: 'profiles',
    entry,
    ...named,
    ...withWarnings(warnings),
    ...(device && { device }),
  };
  const isRemembered = settings.SEGMENT_REMEMBER_USERS;
  const decisions =
    signal === undefined ? [] : createDecisionEntries(call, signal, { isRemembered, part });
  if (device === undefined) return [profile, ...decisions];
  const who = person.distinct_id ?? person.email ?? fallback?.email ?? repeatedPhone?.number ?? '';
  const join: SourceEntry = {
    ...part,
    lane: 'events',
    entry: compact({
      event_name: 'Identified',
      ...person,
      event_time: call.time.time,
      insert_id: shortenInsertId(`${device.id}/${who.toLowerCase()}/Identified`),
    }),
    ...named,
    ...(repeatedPhone && { repeatedPhone }),
    device: { ...device, isJoin: true },
  };
  return [profile, ...decisions, join];
}

/** Lists the user of an identify call for later calls. A call without e-mail address and number must not replace an earlier one. */
function listKnownUsers(call: SegmentCall, { settings }: SegmentRequest): readonly KnownPerson[] {
  const userId = readUserId(call);
  const { email, phone_number: phone, distinct_id: id } = readCallPerson(call);
  const tells = email !== undefined || phone !== undefined;
  const isKept = settings.SEGMENT_REMEMBER_USERS;
  if (!isKept || call.type !== 'identify' || userId === undefined || !tells) return [];
  // With an e-mail address, the id is kept; without one, later calls carry the id themselves.
  const isReached = email !== undefined && isEmail(email);
  const person = compact({ email, phone_number: phone, distinct_id: isReached ? id : undefined });
  const country = findCountry(call);
  return [{ kind: 'user', key: userPersonKey(userId), person, ...(country && { country }) }];
}

function createEventEntries(call: SegmentCall, { settings }: SegmentRequest): SourceEntry[] {
  const { fields, time, index } = call;
  const given = asObject(fields.properties);
  const readable = createFieldFinder(given, ['properties']);
  const name = readEventName(call);
  const money = readRevenue(name.name, readable, settings);
  const { id: orderId, key } = readOrderId(name.name, readable);
  const commerce = readCommerce(call, { properties: given, fields: readable, orderId }, settings);
  const metric = commerce?.metric ?? name.name;
  const messageId = asId(fields.messageId);
  const orderKey = settings.SEGMENT_ORDER_IDS ? key : undefined;
  const { person, ...identity } = identifyCallPerson(call, settings.SEGMENT_REMEMBER_USERS);
  const properties = { ...name.kept, ...time.kept, ...(commerce?.properties ?? given) };
  const isAnyGiven = isJsonObject(fields.properties) || Object.keys(properties).length > 0;
  const read = [name, time, money, ...(commerce === null ? [] : [commerce])];
  const event: SourceEntry = {
    index,
    ...describeCall(call),
    lane: 'events',
    ...identity,
    entry: compact({
      event_name: metric,
      ...person,
      event_time: time.time,
      insert_id: shortenInsertId(
        orderKey === undefined ? messageId : `${orderKey}/${metric ?? ''}`,
      ),
      properties: isAnyGiven ? properties : undefined,
      ...money.fields,
      order_id: orderId,
    }),
  };
  const ordered = (commerce?.ordered ?? []).map((product) =>
    createOrderedProductEntry(event, product, orderKey ?? messageId),
  );
  return [{ ...event, ...withWarnings(read.flatMap(({ warnings }) => warnings)) }, ...ordered];
}

function readCommerce(
  { type, fields }: SegmentCall,
  order: Order,
  { SEGMENT_ECOMMERCE: names }: SegmentSettings,
): CommerceEvent | null {
  const event = asText(fields.event);
  const isMapped = type === 'track' && names === 'klaviyo' && event !== undefined;
  return isMapped ? mapCommerceEvent(event, order) : null;
}

function withWarnings(warnings: readonly SourceWarning[]): Pick<SourceEntry, 'warnings'> {
  return warnings.length === 0 ? {} : { warnings };
}

/** Creates the event of one product. It shares person and time with the event of the order. */
function createOrderedProductEntry(
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
      insert_id: orderKey && shortenInsertId(`${orderKey}/Ordered Product/${key}`),
    }),
    ...withWarnings(warnings),
  };
}
