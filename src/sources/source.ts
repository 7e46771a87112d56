import type { IncomingHttpHeaders } from 'node:http';
import type { FastifyInstance } from 'fastify';
import type { z } from 'zod';
import type { AcceptingDeps, SourceDocs } from '../http/deps.js';
import type { Fault } from '../envelope.js';
import type { SourcePost } from '../ingest/source-entry.js';

/** Environment variables of a source, by name; config.ts adds them to the others. */
export type SettingSchemas = Readonly<Record<string, z.ZodType>>;
export type SettingValues<S extends SettingSchemas> = Readonly<z.output<z.ZodObject<S>>>;

/** One request in a source's own format. */
export type SourceRequest = {
  /** Without the host, such as `/webhooks/shopify`. */
  readonly path: string;
  /** By lower-case name. */
  readonly headers: IncomingHttpHeaders;
  /** Parsed JSON of any form. */
  readonly body: unknown;
  /** Epoch ms. */
  readonly receivedAt: number;
};

/** What a request becomes, or why nothing can be read from it. */
export type ReadRequest =
  | { readonly ok: true; readonly post: SourcePost }
  | { readonly ok: false; readonly errors: readonly Fault[] };

/**
 * An upstream system whose own format the relay accepts. Everything of a source lies in one folder,
 * `src/sources/<name>/`; list.ts is the only other place that names it.
 */
export type Source<Name extends string, S extends SettingSchemas> = {
  /** The label in metrics, the section of the mapping file, the tag in openapi.yaml. */
  readonly name: Name;
  readonly docs: SourceDocs;
  readonly settings: S;
  /** Settings that hold secrets: `<NAME>_FILE` names a file in their place, and SIGHUP reads them again. */
  readonly secrets: readonly (keyof S & string)[];
  /** Rewrites the URL of any request before it is routed. */
  readonly rewriteUrl?: (url: string) => string;
  /**
   * Adds the routes of the source, in a scope of their own. They check the caller, call the map and
   * `deps.acceptFromSource`, and answer as the source's protocol expects. `settings` is read at each use.
   */
  readonly routes: (
    scope: FastifyInstance,
    deps: AcceptingDeps,
    settings: SettingValues<S>,
  ) => void | Promise<void>;
  /** The map: from one request to entries, facts and skips. Pure; never throws, whatever the body. */
  readonly map: (request: SourceRequest, settings: SettingValues<S>) => ReadRequest;
};

export function defineSource<const Name extends string, S extends SettingSchemas>(
  source: Source<Name, S>,
): Source<Name, S> {
  return source;
}
