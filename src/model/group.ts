/**
 * The stored payload of a lane whose envelopes are grouped: `{"group":"GROUP","item":ELEMENT}`. GROUP is
 * what the whole request is about, such as a list, and ELEMENT is one element of the request. The group
 * comes first, so that a store reads it without parsing the payload (lua/claim.lua does the same).
 */
const prefix = '{"group":"';
const middle = '","item":';
const quote = 0x22;

/** A group is made of letters, digits and `-_.:=;`. Throws a RangeError for any other text. */
export function toGroupedPayload(group: string, element: string): string {
  if (!/^[\w\-.:=;]*$/.test(group)) throw new RangeError(`"${group}" cannot be a group`);
  return `${prefix}${group}${middle}${element}}`;
}

/** Returns the group of a payload of a lane with groups. */
export function readGroup(payload: Uint8Array): string {
  return Buffer.from(payload.subarray(prefix.length, findGroupEnd(payload))).toString('latin1');
}

/** Returns the bytes of the element. */
export function readElement(payload: Uint8Array): Uint8Array {
  return payload.subarray(findGroupEnd(payload) + middle.length, -1);
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
