import type { FoundProfile } from '../documents.js';
import {
  parseSubscriptionGroup,
  readElement,
  readGroup,
  type SubscriptionGroup,
} from '../../model/group.js';

/**
 * How Klaviyo's endpoint of a lane is called, as data. One file beside this one describes one lane.
 *
 * To add a lane: a row in model/lane.ts (its stored properties), a file here, a line in list.ts. The
 * engine, the limiter, the stores, the settings, the metrics and the checks of the key follow from these.
 */
export type LaneApi = {
  /** Where requests go. `{id}` stands for the group of the payloads. */
  readonly path: string;
  /** Absent: POST. */
  readonly method?: 'DELETE';
  /** The scopes that a request needs. */
  readonly scopes: readonly string[];
  /** True if a relay without envelopes of this lane does not need its scopes. */
  readonly isOptional?: boolean;
  /** The further scopes that polling the lane's jobs needs. */
  readonly pollScopes?: readonly string[];
  /** Absent: the elements of a request are the stored ones. */
  readonly lookUp?: LookUp;
  readonly body: RequestBody;
  /**
   * What Klaviyo responds with when it has accepted a request.
   * - `empty`: 202 without content. The request is done.
   * - `import-job`: 202 with a job, which is polled until it has ended. Its import errors name the
   *   elements that failed.
   * - `counting-job`: the same, with a job that counts its elements and names none.
   * - `resource`: 200 or 201 with the resource as it is now. The request is done.
   * - `no-content`: 204. The request is done.
   */
  readonly success: 'empty' | 'import-job' | 'counting-job' | 'resource' | 'no-content';
  /** Returns true for a payload that older revisions reject. Absent: there are none. */
  readonly needsNewRevision?: (payload: Uint8Array) => boolean;
  readonly settings: LaneSettingsOf;
};

/** The path of a request with these payloads. */
export const toPath = ({ path }: LaneApi, [first]: readonly Uint8Array[]): string =>
  path.replace('{id}', () => encodeURIComponent(first === undefined ? '' : readGroup(first)));

/** A look-up of profiles before the request, for an endpoint that takes Klaviyo's own ids. */
export type LookUp = {
  /** The scopes that it needs. Every relay needs them for polls, so the check of the key tries them there. */
  readonly scopes: readonly string[];
  /** The paths to GET, each of a list of profiles. Empty: these payloads are sent as they are. */
  toPaths(payloads: readonly Uint8Array[]): readonly string[];
  /** Returns the elements to send for each payload, as JSON. No element: there is nothing to change at Klaviyo. */
  toElements(
    payloads: readonly Uint8Array[],
    profiles: readonly FoundProfile[],
  ): readonly (readonly string[])[];
};

/** The settings of a lane: `PREFIX_BATCH_MAX_COUNT`, `PREFIX_FLUSH_INTERVAL_MS`, `PREFIX_RATE_WINDOWS`. */
export type LaneSettingsOf = {
  readonly prefix: string;
  /** What the envelopes are, in the plural. */
  readonly noun: string;
  /** Klaviyo's maximum of elements in a request; also the default. */
  readonly maxCount: number;
  /** Klaviyo's rate windows for an account of size M, in the form of the setting. */
  readonly rateWindows: string;
  /** What the rate windows limit. */
  readonly limited: string;
};

/** The bodies of an endpoint. Elements are stored bytes, which are neither parsed nor serialised again. */
export type RequestBody = {
  /** `data.type` of a request, and of the job or the resource in the response. */
  readonly type: string;
  /** Bytes of a body without its elements and the commas between them. */
  readonly overheadBytes: number;
  /** The length of the body is `overheadBytes` + the bytes of the elements + one comma between each two. */
  join(elements: readonly Uint8Array[]): Buffer;
  /** Which element an error is about; null if its JSON Pointer names none. */
  locate(pointer: string): ElementLocation | null;
};

/** An element of a request by its index, and the JSON Pointer within that element. */
export type ElementLocation = { readonly index: number; readonly pointer: string };

const comma = 0x2c;

/** The body of a bulk endpoint: `{"data":{"type":type,"attributes":{[listName]:{"data":[…]}}}}`. */
export function createBulkBody(type: string, listName: string): RequestBody {
  const wrapper = toWrapper(JSON.stringify({ data: { type, attributes: toList(listName) } }));
  return {
    type,
    overheadBytes: wrapper.prefix.length + wrapper.suffix.length,
    join: (elements) => joinElements(wrapper, elements),
    locate: createLocator(`data/attributes/${listName}/data`),
  };
}

/**
 * The body of an endpoint that takes one element. Without one it is a resource without attributes, which
 * Klaviyo rejects.
 */
export function createSingleBody(type: string): RequestBody {
  const wrapper = { prefix: Buffer.from('{"data":'), suffix: Buffer.from('}') };
  const none = Buffer.from(JSON.stringify({ type }));
  return {
    type,
    overheadBytes: wrapper.prefix.length + wrapper.suffix.length,
    join: (elements) => joinElements(wrapper, elements.length === 0 ? [none] : elements),
    locate(pointer) {
      const [, rest] = /^#?\/?data(\/.*)$/s.exec(pointer) ?? [];
      return rest === undefined ? null : { index: 0, pointer: rest };
    },
  };
}

/** The longest name of a list and the longest `custom_source`, both with JSON's escapes. */
const maxGroupBytes = 2500;

/** As `src/ingest/schema.ts` accepts them. */
const maxListIdChars = 40;

/** The body of a subscription job. The group of the stored payloads says what they have in common. */
export function createSubscriptionBody(type: string): RequestBody {
  const toEmpty = ({ listId, isHistorical, customSource }: SubscriptionGroup): string =>
    JSON.stringify({
      data: {
        type,
        attributes: {
          ...toList('profiles'),
          ...(isHistorical === true && { historical_import: true }),
          ...(customSource !== undefined && { custom_source: customSource }),
        },
        ...(listId !== undefined && {
          relationships: { list: { data: { type: 'list', id: listId } } },
        }),
      },
    });
  return {
    type,
    overheadBytes: Buffer.byteLength(toEmpty({})) + maxGroupBytes,
    join(payloads) {
      const [first] = payloads;
      const group = first === undefined ? {} : parseSubscriptionGroup(readGroup(first));
      return joinElements(toWrapper(toEmpty(group)), payloads.map(readElement));
    },
    locate: createLocator('data/attributes/profiles/data'),
  };
}

/** The body of a bulk import into one list, whose id is the group of the stored payloads. */
export function createListImportBody(type: string): RequestBody {
  const toEmpty = (id: string): string =>
    JSON.stringify({
      data: {
        type,
        attributes: { profiles: { data: [] } },
        relationships: { lists: { data: [{ type: 'list', id }] } },
      },
    });
  return {
    type,
    overheadBytes: Buffer.byteLength(toEmpty('')) + maxListIdChars,
    join(payloads) {
      const [first] = payloads;
      const id = first === undefined ? '' : readGroup(first);
      return joinElements(toWrapper(toEmpty(id)), payloads.map(readElement));
    },
    locate: createLocator('data/attributes/profiles/data'),
  };
}

/** The body of a change of members: `{"data":[…]}`. The path names the list. */
export function createMembersBody(): RequestBody {
  const wrapper = toWrapper('{"data":[]}');
  return {
    type: 'profile',
    overheadBytes: wrapper.prefix.length + wrapper.suffix.length,
    join: (elements) => joinElements(wrapper, elements),
    locate: createLocator('data'),
  };
}

/** A quote within a text is escaped, so these bytes can only be the name of a channel. */
const whatsApp = Buffer.from('"whatsapp":{');

/**
 * The body of an endpoint that takes one person:
 * `{"data":{"type":type,"attributes":{[name]:{"data":ELEMENT}}}}`.
 */
export function createPersonBody(type: string, name: string): RequestBody {
  const prefix = Buffer.from(`{"data":{"type":"${type}","attributes":{"${name}":{"data":`);
  const suffix = Buffer.from('}}}}');
  const pattern = new RegExp(`^#?/?data/attributes/${name}/data(/.*)?$`, 's');
  return {
    type,
    overheadBytes: prefix.length + suffix.length,
    // Without an element, the request is a valid document that Klaviyo rejects.
    join: (elements) =>
      Buffer.concat([prefix, ...(elements.length === 0 ? [Buffer.from('{}')] : elements), suffix]),
    locate(pointer) {
      const match = pattern.exec(pointer);
      return match === null ? null : { index: 0, pointer: match[1] ?? '' };
    },
  };
}

/** Klaviyo has this channel from revision 2025-10-15 on. */
export const hasWhatsApp = (payload: Uint8Array): boolean =>
  Buffer.from(payload.buffer, payload.byteOffset, payload.length).includes(whatsApp);

const toList = (name: string) => ({ [name]: { data: [] } });

type Wrapper = { readonly prefix: Buffer; readonly suffix: Buffer };

/** Cuts a body without elements where the elements belong: within its first list. */
function toWrapper(empty: string): Wrapper {
  const middle = empty.indexOf('[') + 1;
  return { prefix: Buffer.from(empty.slice(0, middle)), suffix: Buffer.from(empty.slice(middle)) };
}

function joinElements({ prefix, suffix }: Wrapper, elements: readonly Uint8Array[]): Buffer {
  const commas = Math.max(0, elements.length - 1);
  const size = elements.reduce(
    (sum, { length }) => sum + length,
    prefix.length + suffix.length + commas,
  );
  const body = Buffer.allocUnsafe(size);
  body.set(prefix, 0);
  let at = prefix.length;
  elements.forEach((element, index) => {
    if (index > 0) body[at++] = comma;
    body.set(element, at);
    at += element.length;
  });
  body.set(suffix, at);
  return body;
}

/**
 * Klaviyo documents the pointer only up to the index. So the pattern accepts any text after the index,
 * and a missing or different separator. A number that may not be an index does not match: the batch is
 * then bisected, which is always correct.
 */
function createLocator(listPath: string): RequestBody['locate'] {
  const pattern = new RegExp(`^#?/?${listPath}[/[]+(\\d{1,6})(?!\\w)\\]?(.*)$`, 's');
  return (pointer) => {
    const [, index, tail = ''] = pattern.exec(pointer) ?? [];
    if (index === undefined) return null;
    const rest = tail === '' || tail.startsWith('/') ? tail : `/${tail}`;
    return { index: Number(index), pointer: rest };
  };
}
