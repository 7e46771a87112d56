import type { Issue, Reason } from '../model/outcome.js';
import type { Lane } from '../model/lane.js';
import { listName } from './request.js';

/** One error of Klaviyo's error document; what it did not say is empty. */
export type ApiError = {
  /** In Klaviyo's words. */
  readonly detail: string;
  /** JSON Pointer into the request's body. */
  readonly pointer: string;
};

/** Errors of one answer that are read; a request has 10,000 entries at most. */
const maxErrors = 20_000;
const maxDetailChars = 1000;
const maxPointerChars = 300;
const maxFaults = 20;
/** Different sentences that one reason repeats. */
const maxSentences = 3;

/**
 * Reads an error document, as far as it is one: `{errors: [{title, detail, source: {pointer}}]}` in
 * Klaviyo's OpenAPI, `{message}` from its retired APIs, and whatever a proxy makes of it. Pure;
 * never throws.
 */
export function parseApiErrors(bodyText: string): readonly ApiError[] {
  const body = tryParseJson(bodyText);
  if (!isRecord(body)) return [];
  const { errors } = body;
  if (Array.isArray(errors)) {
    return Array.from<unknown>(errors.slice(0, maxErrors)).filter(isRecord).map(parseApiError);
  }
  const words = toText(body.detail) || toText(body.message);
  return words === '' ? [] : [{ detail: shortenText(words, maxDetailChars), pointer: '' }];
}

/** Whether Klaviyo speaks of the API's revision. An unknown field may be called "revision", too. */
export const isAboutRevision = ({ detail }: ApiError): boolean =>
  /\brevisions?\b/i.test(detail) && !/not a valid field/i.test(detail);

/** The JSON value of a text; undefined where it is none. */
export function tryParseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

export function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Also reads one `import-error`'s attributes, which have the same members. */
export function parseApiError(error: Readonly<Record<string, unknown>>): ApiError {
  const { detail, title, source } = error;
  return {
    detail: shortenText(toText(detail) || toText(title), maxDetailChars),
    pointer: isRecord(source) ? shortenText(toText(source.pointer), maxPointerChars) : '',
  };
}

const toText = (value: unknown): string => (typeof value === 'string' ? value : '');

/** Dead letters keep these words for weeks, so none is long. */
function shortenText(words: string, maxChars: number): string {
  return words.length <= maxChars ? words : `${words.slice(0, maxChars - 1)}…`;
}

/** An entry of the request's list, and what within the entry is meant. */
export type ItemLocation = { readonly index: number; readonly pointer: string };

const places: Readonly<Record<Lane, RegExp>> = {
  events: toPlacePattern('events'),
  profiles: toPlacePattern('profiles'),
};

/**
 * Only the part up to the index is certain (Klaviyo documents no more), so any tail will do, and a
 * missing or different separator too. What might be no index is none: bisecting is never wrong.
 */
function toPlacePattern(lane: Lane): RegExp {
  const list = `data/attributes/${listName[lane]}/data`;
  return new RegExp(`^#?/?${list}[/[]+(\\d{1,6})(?!\\w)\\]?(.*)$`, 's');
}

/** Null where the pointer names no entry. */
export function locateItem(lane: Lane, pointer: string): ItemLocation | null {
  const [, index, tail = ''] = places[lane].exec(pointer) ?? [];
  if (index === undefined) return null;
  return { index: Number(index), pointer: tail === '' || tail.startsWith('/') ? tail : `/${tail}` };
}

/** What errors say, as one reason: `otherwise`, in Klaviyo's words where there are any. */
export function toKlaviyoReason(
  errors: readonly ApiError[],
  otherwise: Reason,
  faults: readonly Issue[] = [],
): Reason {
  const words = [...new Set(errors.map(({ detail }) => detail))].filter((detail) => detail !== '');
  const detail = shortenText(words.slice(0, maxSentences).join('; '), maxDetailChars);
  return {
    ...otherwise,
    ...(detail !== '' && { detail }),
    ...(faults.length > 0 && { faults: faults.slice(0, maxFaults) }),
  };
}
