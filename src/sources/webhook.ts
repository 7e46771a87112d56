import type { IncomingHttpHeaders } from 'node:http';
import type { z } from 'zod';
import type { Clock } from '../clock.js';
import { limits } from '../ingest/limits.js';
import type { SourcePost } from '../ingest/source-entry.js';
import { describeIssues, toIssues } from '../ingest/validation.js';
import { parseInSteps, type FindExcess } from '../json/large.js';
import type { Issue } from '../model/outcome.js';
import { runInSlices } from '../slices.js';
import type { SettingSchemas, Source, SourceRequest, SourceValues } from './source.js';

/**
 * A source that POSTs one signed JSON document a request, such as Shopify. The source gives the path,
 * the signature check and the map. This file parses the bodies; src/http/routes/sources/webhook.ts
 * has the route, which is the same for all of these sources.
 */

/** The parts of a request by which its caller is checked. */
export type WebhookCaller = {
  readonly headers: IncomingHttpHeaders;
  /** The URL with its query. */
  readonly url: string;
};

/** How one sender signs its webhooks. */
export type WebhookSignature = {
  /** The challenge of a 401, which RFC 9110 (11.6.1) requires. */
  readonly challenge: string;
  /** Returns false if the route answers 404, as if it did not exist. */
  isConfigured(caller: WebhookCaller): boolean;
  /** Checks the headers before the body is read. Returns the fault, or null if the body is needed to decide. */
  checkHeaders(caller: WebhookCaller): string | null;
  /** Checks the signature of this body. Returns the fault, or null if the signature is valid. */
  checkBody(caller: WebhookCaller, bytes: Buffer): string | null;
};

/** The documentation of a webhook's route. It is not enforced: the map alone decides what it can read. */
type WebhookDocs = {
  readonly operationId: string;
  readonly summary: string;
  readonly description: string;
  readonly headers?: z.ZodObject;
  readonly params?: z.ZodObject;
  readonly body: z.ZodType;
};

/** The result of reading a webhook. `errors`: the issues of a body that is not JSON. */
export type ReadWebhook =
  | { readonly ok: true; readonly post: SourcePost }
  | { readonly ok: false; readonly detail: string; readonly errors: readonly Issue[] };

/** The webhook of one source, with its settings. The HTTP layer makes a route of it. */
export type Webhook = {
  /** The path of the route, in Fastify's syntax. */
  readonly path: string;
  readonly schema: WebhookDocs;
  readonly signature: WebhookSignature;
  /** Parses and maps a request whose signature is valid. `text`: its body. */
  readonly read: (
    request: Omit<SourceRequest, 'body' | 'receivedAt'> & { readonly text: string },
  ) => Promise<ReadWebhook>;
};

type WebhookContext<Name extends string, S extends SettingSchemas, M> = {
  /** Read at each use, because a reload replaces secrets. */
  readonly settings: SourceValues<Name, S, M>;
  readonly clock: Clock;
};

export type WebhookSource<Name extends string, S extends SettingSchemas, M> = Source<Name, S, M> & {
  readonly webhook: (context: WebhookContext<Name, S, M>) => Webhook;
};

type WebhookParts<Name extends string, S extends SettingSchemas, M> = Source<Name, S, M> &
  Pick<Webhook, 'path' | 'schema'> & {
    readonly signature: (context: WebhookContext<Name, S, M>) => WebhookSignature;
    /**
     * Returns the skip reason of a body that is answered 200 without being read as JSON, such as `ping`,
     * or null.
     */
    readonly findSkipReason?: (text: string) => string | null;
  };

/** Creates a source with one route that takes signed requests. */
export function defineWebhookSource<const Name extends string, S extends SettingSchemas, M = never>(
  parts: WebhookParts<Name, S, M>,
): WebhookSource<Name, S, M> {
  const { path, schema, signature, findSkipReason, ...source } = parts;
  return {
    ...source,
    webhook: ({ settings, clock }) => ({
      path,
      schema,
      signature: signature({ settings, clock }),
      async read({ text, ...request }) {
        const reason = findSkipReason?.(text) ?? null;
        if (reason !== null) {
          const skipped = [{ reason }];
          const post = { source: source.name, topic: reason, entries: [], people: [], skipped };
          return { ok: true, post };
        }
        const parsed = await parseWebhook(text, clock);
        if (!parsed.ok) return parsed;
        const mapped = source.map(
          { ...request, body: parsed.json, receivedAt: clock.now() },
          settings,
        );
        if (!mapped.ok) return { ok: false, detail: describeIssues(mapped.errors), errors: [] };
        return { ok: true, post: parsed.isCut ? reportCut(mapped.post) : mapped.post };
      },
    }),
  };
}

/** Adds the skip `too_long`. A topic that is not mapped does not lose anything by the cut. */
function reportCut(post: SourcePost): SourcePost {
  if (post.skipped.some(({ reason }) => reason === 'unmapped')) return post;
  return { ...post, skipped: [...post.skipped, { reason: 'too_long' }] };
}

type ParsedWebhook =
  | { readonly ok: true; readonly json: unknown; readonly isCut: boolean }
  | Extract<ReadWebhook, { ok: false }>;

/**
 * Parses the JSON of a webhook in slices, so that a long one does not hold the event loop. Issues inside
 * it, such as a repeated name, are no reason to reject it. `isCut`: a list that was too long is null in
 * `json`.
 */
async function parseWebhook(text: string, clock: Clock): Promise<ParsedWebhook> {
  let isCut = false;
  const findExcess: FindExcess = (container) => {
    const detail = findWebhookExcess(container);
    if (detail !== null) isCut = true;
    return detail;
  };
  const parsed = await runInSlices(parseInSteps(text, findExcess), clock);
  if (parsed.ok) return { ok: true, json: parsed.value, isCut };
  const errors = toIssues([parsed.issue]);
  return { ok: false, detail: `the body ${parsed.issue.detail}`, errors };
}

/** Objects above this depth have documented members. Below it, as in Stripe's `data.object.metadata`, the shop names the members. */
const objectLevels = 3;

/**
 * Finds lists, and objects whose members a shop names, that are far longer than any sender makes them.
 * The objects around them keep all members, because maps read those by name alone.
 */
const findWebhookExcess: FindExcess = ({ path, isArray, count }) =>
  count > limits.membersPerWebhookField && (isArray || path.length >= objectLevels)
    ? `has more than ${limits.membersPerWebhookField} members`
    : null;
