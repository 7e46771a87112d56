/**
 * The stored payload of a lane whose envelopes are grouped: `{"group":"GROUP","at":"TIME","item":ELEMENT}`.
 * GROUP is what the whole request is about, such as a list, TIME is when the person decided (ISO 8601 with
 * 24 characters), and ELEMENT is one element of the request. The group comes first, so that a store reads
 * it without parsing the payload (lua/claim.lua does the same).
 */
const prefix = '{"group":"';
const beforeTime = '","at":"';
const timeChars = 24;
const beforeElement = '","item":';
const quote = 0x22;

/** A group is made of letters, digits and `-_.:=;`. Throws a RangeError for any other text. */
export function toGroupedPayload(group: string, element: string, decidedAt: number): string {
  if (!/^[\w\-.:=;]*$/.test(group)) throw new RangeError(`"${group}" cannot be a group`);
  const time = new Date(decidedAt).toISOString();
  return `${prefix}${group}${beforeTime}${time}${beforeElement}${element}}`;
}

/** Returns the group of a payload of a lane with groups. */
export function readGroup(payload: Uint8Array): string {
  return Buffer.from(payload.subarray(prefix.length, findGroupEnd(payload))).toString('latin1');
}

/** Returns the bytes of the element. */
export function readElement(payload: Uint8Array): Uint8Array {
  const from = findGroupEnd(payload) + beforeTime.length + timeChars + beforeElement.length;
  return payload.subarray(from, -1);
}

/** Returns when the person decided, in epoch ms. */
export function readDecidedAt(payload: Uint8Array): number {
  const from = findGroupEnd(payload) + beforeTime.length;
  return Date.parse(Buffer.from(payload.subarray(from, from + timeChars)).toString('latin1'));
}

const findGroupEnd = (payload: Uint8Array): number => payload.indexOf(quote, prefix.length);

/** What all profiles of one subscription request share. */
export type SubscriptionGroup = {
  readonly listId?: string | undefined;
  /** The consent was given before: no confirmation is requested, and no flow starts. */
  readonly isHistorical?: boolean | undefined;
  /** A text that Klaviyo stores with the consent. */
  readonly customSource?: string | undefined;
};

export function toSubscriptionGroup({
  listId = '',
  isHistorical,
  customSource = '',
}: SubscriptionGroup): string {
  const source = Buffer.from(customSource).toString('base64url');
  return [listId, isHistorical === true ? 'historical' : '', source].join(';');
}

export function parseSubscriptionGroup(group: string): SubscriptionGroup {
  const [listId = '', historical, source = ''] = group.split(';');
  return {
    ...(listId !== '' && { listId }),
    ...(historical === 'historical' && { isHistorical: true }),
    ...(source !== '' && { customSource: Buffer.from(source, 'base64url').toString() }),
  };
}
