import { isRecord } from './api-errors.js';

/**
 * Klaviyo's answers are JSON:API documents (jsonapi.org/format, "Document Structure"). What is none does
 * not come from Klaviyo, whatever its status is: load balancers, gateways and portals answer 2xx, too.
 */

export type Resource = Readonly<Record<string, unknown>>;

/** True for a document without errors: it has resources, or at least the members of JSON:API. */
export function isDocument(body: unknown): body is Resource {
  if (!isRecord(body) || 'errors' in body) return false;
  const { data, jsonapi, links } = body;
  if (data === undefined || data === null) return isRecord(jsonapi) || isRecord(links);
  return Array.isArray(data) ? Array.from<unknown>(data).every(isResource) : isResource(data);
}

/** True for a document of errors. Each of Klaviyo's errors has a `detail`. */
export function isErrorDocument(body: unknown): boolean {
  if (!isRecord(body) || !Array.isArray(body.errors) || body.errors.length === 0) return false;
  return Array.from<unknown>(body.errors).every(
    (error) => isRecord(error) && typeof error.detail === 'string' && error.detail !== '',
  );
}

/** The resources of a document's list; null where it has no list of this type. */
export function toResources(body: unknown, type: string): readonly Resource[] | null {
  if (!isRecord(body) || 'errors' in body || !Array.isArray(body.data)) return null;
  const resources = Array.from<unknown>(body.data).filter(isRecord);
  const isList =
    resources.length === body.data.length && resources.every((resource) => resource.type === type);
  return isList ? resources : null;
}

/** The one resource of a document; null where it has none of this type. */
export function toResource(body: unknown, type: string): Resource | null {
  if (!isRecord(body) || 'errors' in body || !isRecord(body.data)) return null;
  return body.data.type === type ? body.data : null;
}

function isResource(value: unknown): value is Resource {
  return isRecord(value) && typeof value.type === 'string' && value.type !== '';
}
