import { hash } from 'node:crypto';
import { isJsonObject, type JsonObject } from '../../json.js';
import { isCurrency } from '../../ingest/currency.js';
import { limits } from '../../ingest/limits.js';
import { asAmount, asId, asNumeral, asObject, asText, compact } from '../json.js';
import {
  listBatch,
  listOne,
  type CallType,
  type NoCall,
  type SegmentBody,
  type SegmentCall,
} from './calls.js';
import type { SegmentSettings } from './settings.js';
import { isAnonymous, toPerson, toUserId } from './person.js';
import { toProfile } from './traits.js';
import type {
  KnownPerson,
  Person,
  Skipped,
  SourceEntry,
  SourcePost,
} from '../../ingest/source-entry.js';

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
      /** The SDK's own id of each part, by index. */
      readonly messageIds: readonly (string | undefined)[];
    }
  | { readonly ok: false; readonly detail: string };

/**
 * Pure, and never throws. Calls by Segment's specification; see upstream-contracts 4 for what SDKs really
 * send. Some work on one call is a step.
 */
export function* toSegmentPost(request: SegmentRequest): Generator<undefined, SegmentPost> {
  const { kind, receivedAt } = request;
  const listed =
    kind === 'batch' ? yield* listBatch(request, receivedAt) : listOne(request, kind, receivedAt);
  if (!listed.ok) return listed;
  const entries: SourceEntry[] = [];
  const people: KnownPerson[] = [];
  const skipped: Skipped[] = [];
  for (const call of listed.calls) {
    yield;
    const person = toPerson(call);
    const reason = toSkipReason(call, person, request);
    if (reason !== null) {
      skipped.push({ reason, ...toPart(call) });
      continue;
    }
    entries.push(toEntry(call, person, request));
    people.push(...toKnown(call, person, request));
  }
  const { noCalls, messageIds } = listed;
  return {
    ok: true,
    post: { source: 'segment', entries, people, skipped },
    noCalls,
    messageIds,
  };
}

function toSkipReason(
  call: SegmentCall,
  person: Person,
  { settings }: SegmentRequest,
): string | null {
  const { type } = call;
  if (isOff(call.integrations)) return 'integration_off';
  if (type === 'group' || type === 'alias') return type;
  if ((type === 'page' || type === 'screen') && !settings.SEGMENT_PAGE_EVENTS) return 'page_off';
  return isAnonymous(call, person) ? 'anonymous' : null;
}

/** Segment's filter: `All` for every destination that is not named. Options of Klaviyo, an object, mean that it is on. */
function isOff({ All: all, Klaviyo: klaviyo }: JsonObject): boolean {
  return klaviyo === undefined || klaviyo === null ? all === false : klaviyo === false;
}

function toEntry(call: SegmentCall, person: Person, { settings }: SegmentRequest): SourceEntry {
  const { index, type } = call;
  const part = { index, ...toPart(call) };
  if (type === 'identify') return { ...part, lane: 'profiles', entry: toProfile(call) };
  const userId = settings.SEGMENT_REMEMBER_USERS ? toUserId(call) : undefined;
  const entry = toEvent(call, person);
  return { ...part, lane: 'events', entry, ...(userId && { personKeys: [toPersonKey(userId)] }) };
}

function toPart({ type, fields }: SegmentCall) {
  return { kind: type, id: asId(fields.messageId) };
}

/** An identify call without address and number must not take the place of an earlier one with them. */
function toKnown(
  call: SegmentCall,
  person: Person,
  { settings }: SegmentRequest,
): readonly KnownPerson[] {
  const userId = toUserId(call);
  const tells = person.email !== undefined || person.phone_number !== undefined;
  const isKept = settings.SEGMENT_REMEMBER_USERS;
  if (!isKept || call.type !== 'identify' || userId === undefined || !tells) return [];
  return [{ kind: 'user', key: toPersonKey(userId), person }];
}

function toPersonKey(userId: string): string {
  return `user:${userId}`;
}

function toEvent(call: SegmentCall, person: Person): JsonObject {
  const { fields, time } = call;
  const properties = asObject(fields.properties);
  return compact({
    event_name: toEventName(call),
    ...person,
    event_time: time,
    insert_id: toInsertId(fields.messageId),
    properties: isJsonObject(fields.properties) ? properties : undefined,
    ...toRevenue(properties),
    order_id: toOrderId(properties.orderId) ?? toOrderId(properties.order_id),
  });
}

function toEventName({ type, fields }: SegmentCall): string | undefined {
  if (type === 'track') return asText(fields.event);
  const what = type === 'page' ? 'Page' : 'Screen';
  const name = asText(fields.name);
  return name === undefined ? `Loaded a ${what}` : `Viewed ${name} ${what}`;
}

/** Segment allows 100 characters, Klaviyo 255. A longer id must stay the same one when it is sent again. */
function toInsertId(messageId: unknown): string | undefined {
  const id = asId(messageId);
  if (id === undefined || id.length <= limits.uniqueIdChars) return id;
  return hash('sha256', id, 'base64url');
}

/** Segment's e-commerce specification: `revenue` is what counts, the others stand in for it. */
function toRevenue({ revenue, total, value, currency }: JsonObject): JsonObject {
  const code = asText(currency)?.trim().toUpperCase();
  return {
    value: asAmount(revenue) ?? asAmount(total) ?? asAmount(value),
    currency: code !== undefined && isCurrency(code) ? code : undefined,
  };
}

function toOrderId(value: unknown): unknown {
  return asText(value) ?? asNumeral(value);
}
