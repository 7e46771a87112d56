import type { Lane } from '../model/lane.js';
import {
  isAboutRevision,
  tryParseJson,
  parseApiErrors,
  locateItem,
  type ApiError,
  type ItemLocation,
} from './api-errors.js';
import { isDocument, toResource } from './documents.js';
import { toHeaderText, type Headers } from './rate-headers.js';
import { importJobType } from './request.js';

/** One answer of a bulk endpoint, and for how many entries it speaks. */
export type KlaviyoResponse = {
  readonly lane: Lane;
  readonly count: number;
  readonly status: number;
  readonly headers: Headers;
  readonly bodyText: string;
  /** False where `bodyText` is not all that came, or cannot be decoded. */
  readonly isWhole: boolean;
  /** Epoch ms, for a Retry-After that is a date. */
  readonly now: number;
};

/** An answer, and what the table asks of it. */
export type ParsedResponse = KlaviyoResponse & {
  /** False for what a proxy or Cloudflare puts in Klaviyo's place: Klaviyo's bodies are JSON objects. */
  readonly isFromKlaviyo: boolean;
  readonly isPage: boolean;
  readonly errors: readonly ApiError[];
  /** Which entry is at fault, and for what; those of errors that name one in the request. */
  readonly errorsByItem: ReadonlyMap<number, readonly ItemError[]>;
};
export type ItemError = { readonly error: ApiError; readonly location: ItemLocation };

/** Reads what the table asks for. Pure; never throws. */
export function parseResponse(answer: KlaviyoResponse): ParsedResponse {
  const isPage =
    /html/i.test(toHeaderText(answer.headers['content-type']) ?? '') ||
    /^\s*</.test(answer.bodyText);
  const isKlaviyos = !isPage && /^\s*[[{]/.test(answer.bodyText);
  const errors = isKlaviyos && !isSuccess(answer.status) ? parseApiErrors(answer.bodyText) : [];
  return {
    ...answer,
    isPage,
    isFromKlaviyo: isKlaviyos,
    errors,
    errorsByItem: groupErrorsByItem(answer, errors),
  };
}

function groupErrorsByItem(
  { lane, count }: KlaviyoResponse,
  errors: readonly ApiError[],
): ParsedResponse['errorsByItem'] {
  const named = new Map<number, ItemError[]>();
  for (const error of errors) {
    const place = locateItem(lane, error.pointer);
    if (place === null || place.index >= count || isAboutDuplicateId(error)) continue;
    const before = named.get(place.index);
    if (before === undefined) named.set(place.index, [{ error, location: place }]);
    else before.push({ error, location: place });
  }
  return named;
}

/** Nothing of the kind is at the address. */
export const wrongEndpointStatuses = [404, 405, 406, 410, 415] as const;

/** 3xx are not followed: the key is for one host alone. */
export function isFromWrongEndpoint(seen: ParsedResponse): boolean {
  return hasStatus(seen, ...wrongEndpointStatuses) || (seen.status >= 300 && seen.status < 400);
}

/**
 * Klaviyo's documented success, and nothing else: 202 without a body or with a document of no errors for
 * events, 202 with an import job for profiles.
 */
export function isDocumentedSuccess({ lane, status, bodyText, isWhole }: KlaviyoResponse): boolean {
  if (status !== 202 || !isWhole) return false;
  if (lane === 'profiles') return toImportJobId(bodyText) !== null;
  return bodyText === '' || isDocument(tryParseJson(bodyText));
}

/** True for a 202 of Klaviyo about profiles that names no import job; seen from Klaviyo itself. */
export function isSuccessWithoutJob({ lane, status, bodyText, isWhole }: KlaviyoResponse): boolean {
  if (lane !== 'profiles' || status !== 202 || !isWhole) return false;
  return bodyText === '' || isDocument(tryParseJson(bodyText));
}

/** Null where the answer names no import job. */
export function toImportJobId(bodyText: string): string | null {
  const id = toResource(tryParseJson(bodyText), importJobType)?.id;
  return typeof id === 'string' && /^\S{1,200}$/.test(id) ? id : null;
}

export const isSuccess = (status: number): boolean => status >= 200 && status < 300;
export const hasStatus = ({ status }: ParsedResponse, ...statuses: readonly number[]): boolean =>
  statuses.includes(status);

export const isAboutWholeRevision = ({ errors, errorsByItem: named }: ParsedResponse): boolean =>
  named.size === 0 && errors.some(isAboutRevision);

export const isAboutList = ({ pointer }: ApiError): boolean =>
  /^#?\/?data\/relationships/.test(pointer);

/** Two entries may not share a request; each by itself is fine, so neither is at fault. */
const isAboutDuplicateId = ({ detail }: ApiError): boolean =>
  /unique[ _-]?id/i.test(detail) &&
  /more than once|duplicat|repeat|twice|not unique|be unique|same unique/i.test(detail);

/** For an answer without words of its own; a page has at least a title. */
export function describeResponse({
  status,
  isPage,
  isFromKlaviyo: isKlaviyos,
  isWhole,
  bodyText,
}: ParsedResponse): string {
  if (!isPage && isWhole && (isKlaviyos || bodyText === '') && !isSuccess(status)) {
    return `Klaviyo answered ${status}`;
  }
  const [, title = ''] = (isPage ? /<title>([^<]{1,100})/i.exec(bodyText) : null) ?? [];
  const named = title.trim() === '' ? '' : ` ("${title.trim()}")`;
  const cut = isWhole ? '' : ', and the body cannot be read';
  return `something between us and Klaviyo answered ${status}${named}${cut}`;
}
