import type { Issue, Reason } from '../model/outcome.js';

/**
 * Reads Klaviyo's response bodies. They are JSON:API documents (jsonapi.org/format, "Document
 * Structure"): either resources in `data`, or a list of `errors`. A body of any other form does not come
 * from Klaviyo, whatever its status is: load balancers, gateways and captive portals also respond with
 * 2xx. Every function here is pure and never throws.
 */
export type Resource = Readonly<Record<string, unknown>>;

/** Returns undefined for a text that is not JSON. */
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

/** Returns true for a document without errors: it has resources, or at least members of JSON:API. */
export function isDocument(body: unknown): body is Resource {
  if (!isRecord(body) || 'errors' in body) return false;
  const { data, jsonapi, links } = body;
  if (data === undefined || data === null) return isRecord(jsonapi) || isRecord(links);
  return Array.isArray(data) ? Array.from<unknown>(data).every(isResource) : isResource(data);
}

/** Returns true for a document of errors. Each of Klaviyo's errors has a `detail`. */
export function isErrorDocument(body: unknown): boolean {
  if (!isRecord(body) || !Array.isArray(body.errors) || body.errors.length === 0) return false;
  return Array.from<unknown>(body.errors).every(
    (error) => isRecord(error) && typeof error.detail === 'string' && error.detail !== '',
  );
}

/** The resources of a document; null if the document has no list of this type. */
export function toResources(body: unknown, type: string): readonly Resource[] | null {
  if (!isRecord(body) || 'errors' in body || !Array.isArray(body.data)) return null;
  const resources = Array.from<unknown>(body.data).filter(isRecord);
  const isList =
    resources.length === body.data.length && resources.every((resource) => resource.type === type);
  return isList ? resources : null;
}

/** A profile as a look-up shows it. */
export type FoundProfile = { readonly id: string; readonly attributes: Resource };

/** The profiles of a document; null if the document is no list of profiles with ids. */
export function toFoundProfiles(body: unknown): readonly FoundProfile[] | null {
  const resources = toResources(body, 'profile');
  const profiles = resources?.flatMap(({ id, attributes }) =>
    typeof id === 'string' ? [{ id, attributes: isRecord(attributes) ? attributes : {} }] : [],
  );
  return profiles?.length === resources?.length ? (profiles ?? null) : null;
}

/** The single resource of a document; null if the document has none of this type. */
export function toResource(body: unknown, type: string): Resource | null {
  if (!isRecord(body) || 'errors' in body || !isRecord(body.data)) return null;
  return body.data.type === type ? body.data : null;
}

function isResource(value: unknown): value is Resource {
  return isRecord(value) && typeof value.type === 'string' && value.type !== '';
}

/** One error of an error document. A member that Klaviyo left out is empty. */
export type ApiError = {
  /** In Klaviyo's words. */
  readonly detail: string;
  /** JSON Pointer into the request body. */
  readonly pointer: string;
  /** The id of another profile that has an identifier of this one. */
  readonly duplicateId: string;
};

/** Errors that are read of one response. A request has 10,000 entries at most. */
const maxErrors = 20_000;
const maxDetailChars = 1000;
const maxPointerChars = 300;
const maxFaults = 20;
/** Different sentences that one reason quotes. */
const maxSentences = 3;

/**
 * Reads an error document: `{errors: [{title, detail, source: {pointer}}]}` of Klaviyo's OpenAPI, or
 * `{message}` of its retired APIs. Returns an empty list for anything else.
 */
export function parseApiErrors(bodyText: string): readonly ApiError[] {
  const body = tryParseJson(bodyText);
  if (!isRecord(body)) return [];
  const { errors } = body;
  if (Array.isArray(errors)) {
    return Array.from<unknown>(errors.slice(0, maxErrors)).filter(isRecord).map(parseApiError);
  }
  const detail = stringOrEmpty(body.detail) || stringOrEmpty(body.message);
  return detail === ''
    ? []
    : [{ detail: shortenText(detail, maxDetailChars), pointer: '', duplicateId: '' }];
}

/** Also reads the attributes of an `import-error`, which have the same members. */
export function parseApiError(error: Readonly<Record<string, unknown>>): ApiError {
  const { detail, title, source, meta } = error;
  return {
    detail: shortenText(stringOrEmpty(detail) || stringOrEmpty(title), maxDetailChars),
    pointer: isRecord(source) ? shortenText(stringOrEmpty(source.pointer), maxPointerChars) : '',
    duplicateId: isRecord(meta) ? readDuplicateId(meta) : '',
  };
}

function readDuplicateId({ duplicate_profile_id: id }: Readonly<Record<string, unknown>>): string {
  return typeof id === 'string' && /^\w{1,64}$/.test(id) ? id : '';
}

/** Returns true if the error is about the API's revision. A field of a record may also be called "revision". */
export const isAboutRevision = ({ detail }: ApiError): boolean =>
  /\brevisions?\b/i.test(detail) && !/not a valid field/i.test(detail);

const stringOrEmpty = (value: unknown): string => (typeof value === 'string' ? value : '');

/** Dead letters keep these texts for weeks, so each of them is bounded. */
function shortenText(text: string, maxChars: number): string {
  return text.length <= maxChars ? text : `${text.slice(0, maxChars - 1)}…`;
}

/** Joins errors into one reason: `fallback`, with the detail in Klaviyo's words if the errors have any. */
export function toKlaviyoReason(
  errors: readonly ApiError[],
  fallback: Reason,
  faults: readonly Issue[] = [],
): Reason {
  const details = [...new Set(errors.map(({ detail }) => detail))].filter((text) => text !== '');
  const detail = shortenText(details.slice(0, maxSentences).join('; '), maxDetailChars);
  return {
    ...fallback,
    ...(detail !== '' && { detail }),
    ...(faults.length > 0 && { faults: faults.slice(0, maxFaults) }),
  };
}
