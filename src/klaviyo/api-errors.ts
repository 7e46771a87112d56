import type { Fault, Lane, Reason } from '../envelope.js';
import { listName } from './request.js';

/** One error of Klaviyo's error document; what it did not say is empty. */
export type ApiError = {
  readonly code: string;
  /** In Klaviyo's words. */
  readonly detail: string;
  /** JSON Pointer into the request's body. */
  readonly pointer: string;
};

/** Errors of one answer that are read; a request has 10,000 entries at most. */
const maxErrors = 20_000;
const maxDetailChars = 1000;
const maxFaults = 20;

/**
 * Reads an error document, as far as it is one: `{errors: [{code, title, detail, source: {pointer}}]}`
 * in Klaviyo's OpenAPI, `{message}` from its retired APIs, and whatever a proxy makes of it. Pure;
 * never throws.
 */
export function toApiErrors(bodyText: string): readonly ApiError[] {
  const body = parse(bodyText);
  if (!isObject(body)) return [];
  const { errors } = body;
  if (Array.isArray(errors)) {
    return Array.from<unknown>(errors.slice(0, maxErrors)).filter(isObject).map(toApiError);
  }
  const words = toText(body['detail']) || toText(body['message']);
  return words === '' ? [] : [{ code: '', detail: shorten(words), pointer: '' }];
}

/** The JSON value of a text; undefined where it is none. */
export function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

export function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Also reads one `import-error`'s attributes, which have the same members. */
export function toApiError(error: Readonly<Record<string, unknown>>): ApiError {
  const { code, detail, title, source } = error;
  return {
    // What is not short and plain is no code, and codes become labels of metrics.
    code: /^[\w.-]{1,40}$/.test(toText(code)) ? toText(code) : '',
    detail: shorten(toText(detail) || toText(title)),
    pointer: isObject(source) ? toText(source['pointer']) : '',
  };
}

const toText = (value: unknown): string => (typeof value === 'string' ? value : '');

function shorten(words: string): string {
  return words.length <= maxDetailChars ? words : `${words.slice(0, maxDetailChars - 1)}…`;
}

/** An entry of the request's list, and what within the entry is meant. */
export type Place = { readonly index: number; readonly pointer: string };

const places: Readonly<Record<Lane, RegExp>> = {
  events: toPlacePattern('events'),
  profiles: toPlacePattern('profiles'),
};

/**
 * Only the part up to the index is certain (klaviyo-api.md), so any tail will do, and a missing or
 * different separator too.
 */
function toPlacePattern(lane: Lane): RegExp {
  return new RegExp(
    `^#?/?data/attributes/${listName[lane]}/data[/[]+(\\d{1,6})(?!\\d)\\]?(.*)$`,
    's',
  );
}

/** Null where the pointer names no entry. */
export function toPlace(lane: Lane, pointer: string): Place | null {
  const [, index, tail = ''] = places[lane].exec(pointer) ?? [];
  if (index === undefined) return null;
  return { index: Number(index), pointer: tail === '' || tail.startsWith('/') ? tail : `/${tail}` };
}

/** What errors say, as one reason; `faults` come in where they are about one entry. */
export function toReason(
  errors: readonly ApiError[],
  otherwise: Reason,
  faults: readonly Fault[] = [],
): Reason {
  const words = [...new Set(errors.map(({ detail }) => detail).filter((detail) => detail !== ''))];
  return {
    ...otherwise,
    ...(words.length > 0 && { detail: shorten(words.slice(0, 3).join('; ')) }),
    ...(faults.length > 0 && { faults: faults.slice(0, maxFaults) }),
  };
}
