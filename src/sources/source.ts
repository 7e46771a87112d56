import type { IncomingHttpHeaders } from 'node:http';
import type { FastifyInstance } from 'fastify';
import type { z } from 'zod';
import type { AcceptingDeps, SourceDocs } from '../http/deps.js';
import type { Issue } from '../model/outcome.js';
import type { SourcePost } from '../ingest/source-entry.js';

/** Environment variables of a source, by name; config.ts adds them to the others. */
export type SettingSchemas = Readonly<Record<string, z.ZodType>>;
export type SettingValues<S extends SettingSchemas> = Readonly<z.output<z.ZodObject<S>>>;

/** The mapping file, for a source with a section of its own. */
export type MappedValues<Name extends string, M> = [M] extends [never]
  ? unknown
  : { readonly MAPPING_FILE?: Readonly<Partial<Record<Name, M | undefined>>> | undefined };

/** What a source reads: its settings and, if it has a section of its own, the mapping file. */
export type SourceValues<Name extends string, S extends SettingSchemas, M> = SettingValues<S> &
  MappedValues<Name, M>;

/** A section of the mapping file in a form of the source's own. Sources without one share the rules of mapping/rules.ts. */
export type MappingSection<Name extends string, M> = {
  /** The output is plain data, so that a reload can compare it. */
  readonly schema: z.ZodType<M>;
  /** What the section says, a line for each thing. */
  readonly explain: (values: MappedValues<Name, M>) => readonly string[];
};

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

export type Sample = {
  /** True where the body or the headers can be of this source alone. */
  readonly recognizes: (request: Pick<SourceRequest, 'headers' | 'body'>) => boolean;
  /** The header with the topic. Absent: the body has it. */
  readonly topicHeader?: string;
  /** Headers that a request has where none are given. */
  readonly headers?: IncomingHttpHeaders;
  /** The path of a request with this body. Absent: it does not matter. */
  readonly toPath?: (body: unknown) => string;
};

/** What a request becomes, or why nothing can be read from it. */
export type ReadRequest =
  | { readonly ok: true; readonly post: SourcePost }
  | { readonly ok: false; readonly errors: readonly Issue[] };

/**
 * An upstream system whose own format the relay accepts. Everything of a source lies in one folder,
 * `src/sources/<name>/`; list.ts is the only other place that names it.
 */
export type Source<Name extends string, S extends SettingSchemas, M = never> = {
  /** The label in metrics, the section of the mapping file, the tag in openapi.yaml. */
  readonly name: Name;
  readonly docs: SourceDocs;
  readonly settings: S;
  /** Settings that hold secrets: `<NAME>_FILE` names a file in their place, and SIGHUP reads them again. */
  readonly secrets: readonly (keyof S & string)[];
  /** Absent: the section has the rules that all sources share. */
  readonly mapping?: MappingSection<Name, M>;
  /** What is wrong with settings that are each valid, a line each that names the setting. */
  readonly findContradictions?: (values: SourceValues<Name, S, M>) => readonly string[];
  /** What `klaviyo-relay map` asks of a source, which has a body and often nothing else of a request. */
  readonly sample?: Sample;
  /** Rewrites the URL of any request before it is routed. */
  readonly rewriteUrl?: (url: string) => string;
  /**
   * Adds the routes of the source, in a scope of their own. They check the caller, call the map and
   * `deps.acceptFromSource`, and answer as the source's protocol expects. `settings` is read at each use.
   */
  readonly routes: (
    scope: FastifyInstance,
    deps: AcceptingDeps,
    settings: SourceValues<Name, S, M>,
  ) => void | Promise<void>;
  /** The map: from one request to entries, facts and skips. Pure; never throws, whatever the body. */
  readonly map: (request: SourceRequest, settings: SourceValues<Name, S, M>) => ReadRequest;
};

export function defineSource<const Name extends string, S extends SettingSchemas, M = never>(
  source: Source<Name, S, M>,
): Source<Name, S, M> {
  return source;
}
