import type { IncomingHttpHeaders } from 'node:http';
import type { OpenAPIV3_1 } from 'openapi-types';
import type { z } from 'zod';
import type { Issue } from '../model/outcome.js';
import type { Decision, SourcePost } from '../ingest/source-entry.js';

/**
 * The contract of a source: an upstream system whose own format the relay accepts, such as Shopify.
 *
 * To add a source, write one folder and one line:
 *
 * 1. Create `src/sources/<name>/source.ts`. It exports one object, made by `defineWebhookSource`
 *    (webhook.ts) if the system POSTs one signed JSON document a request, and by `defineSource`
 *    (below) if it needs routes of its own, as the SDKs of Segment do. Such routes are in
 *    src/http/routes/sources/.
 * 2. Declare `settings` (environment variables as zod schemas), and list in `secrets` those that hold
 *    secrets.
 * 3. Check the caller: `signature` of a webhook source, or the hooks of its own routes.
 * 4. Write `map`: a pure function from one request to a `SourcePost` (src/ingest/source-entry.ts).
 *    Read the payload with json.ts, money.ts, time.ts and decimal.ts in this folder; they treat a
 *    missing or odd field as absent and never throw.
 * 5. Add the object to the list in list.ts. Settings, secrets, routes, OpenAPI, the mapping file,
 *    `klaviyo-relay map` and GET /v1/sources take everything from that list.
 * 6. Add tests in `test/sources/<name>/` and a sample request in `test/sources/samples.ts`, then run
 *    `npm run docs` and `npm run openapi`.
 *
 * What happens to one request, in this order:
 *
 * 1. `rewriteUrl` may change its URL.
 * 2. Its route (src/http/routes/sources/) checks the caller, reads the body and parses it.
 * 3. `map` returns entries (as a caller of this relay would post them; a subscription or an
 *    unsubscription without its channel and its list, which the mapping file adds), people
 *    (identifiers that later requests look up), skips (parts that are not sent, with a reason) and,
 *    where the result depends on earlier requests, a ledger.
 * 4. `acceptFromSource` applies the mapping file, completes each entry with known people,
 *    validates it and appends it to the store. An invalid entry becomes a dead letter.
 * 5. The route answers as the protocol of the source expects.
 *
 * A source contains no HTTP: it returns a failed check or an unreadable body as a value, and the route
 * makes the response.
 */

/** Environment variables of a source, by name. config.ts adds them to the settings of the relay. */
export type SettingSchemas = Readonly<Record<string, z.ZodType>>;
export type SettingValues<S extends SettingSchemas> = Readonly<z.output<z.ZodObject<S>>>;

/** The mapping file, as a source with a section in its own form reads it. */
export type MappedValues<Name extends string, M> = [M] extends [never]
  ? unknown
  : { readonly MAPPING_FILE?: Readonly<Partial<Record<Name, M | undefined>>> | undefined };

/** The values that a source reads: its settings and, if its section has its own form, the mapping file. */
export type SourceValues<Name extends string, S extends SettingSchemas, M> = SettingValues<S> &
  MappedValues<Name, M>;

/** A section of the mapping file in the source's own form. Other sources share the rules of mapping/rules.ts. */
export type MappingSection<Name extends string, M> = {
  /** Its output is plain data, so that a reload can compare two versions. */
  readonly schema: z.ZodType<M>;
  /** Describes the section for `klaviyo-relay check`, one line for each rule. */
  readonly explain: (values: MappedValues<Name, M>) => readonly string[];
};

/** The consents to marketing that a source reports (mapping/consent.ts). */
export type ReportedConsents = {
  readonly channels: readonly Decision['channel'][];
  /** True: the source also names lists, groups and refused categories. */
  readonly namesLists?: boolean;
};

/** One request in a source's own format. */
export type SourceRequest = {
  /** The path with its query and without the host, such as `/webhooks/shopify`. */
  readonly path: string;
  /** By lower-case name. */
  readonly headers: IncomingHttpHeaders;
  /** Parsed JSON of any form. */
  readonly body: unknown;
  /** Epoch ms. */
  readonly receivedAt: number;
};

/** How `klaviyo-relay map` makes a request from a sample, which often is a body alone. */
export type Sample = {
  /** Returns true if only this source sends such a body or such headers. */
  readonly recognizes: (request: Pick<SourceRequest, 'headers' | 'body'>) => boolean;
  /** Name of the header that holds the topic. Absent: the topic is in the body. */
  readonly topicHeader?: string;
  /** Default headers of a sample request. */
  readonly headers?: IncomingHttpHeaders;
  /** Returns the path of a request with this body. Absent: the map does not read the path. */
  readonly toPath?: (body: unknown) => string;
};

/** The result of a map: what the request becomes, or why it cannot be read. */
export type ReadRequest =
  | { readonly ok: true; readonly post: SourcePost }
  | { readonly ok: false; readonly errors: readonly Issue[] };

/** The part of openapi.yaml about a source as a whole. */
export type SourceDocs = {
  readonly description: string;
  readonly securitySchemes: Readonly<Record<string, OpenAPIV3_1.SecuritySchemeObject>>;
};

/** The members of a source. `Name` is its name, `S` its settings, `M` its own section of the mapping file. */
export type Source<Name extends string, S extends SettingSchemas, M = never> = {
  /** The label in metrics, the section in the mapping file and the tag in openapi.yaml. */
  readonly name: Name;
  readonly docs: SourceDocs;
  readonly settings: S;
  /** Names of the settings that hold secrets. `<NAME>_FILE` may name a file instead; SIGHUP reads the secrets again. */
  readonly secrets: readonly (keyof S & string)[];
  /** Absent: the section has the rules of mapping/rules.ts. */
  readonly mapping?: MappingSection<Name, M>;
  /** Absent: the source reports no consents, and its section has no `consent`. */
  readonly consent?: ReportedConsents;
  /** Checks settings that are each valid against each other. Returns one line for each fault, with the name of the setting. */
  readonly findContradictions?: (values: SourceValues<Name, S, M>) => readonly string[];
  /** Absent: `klaviyo-relay map` needs the name of the source. */
  readonly sample?: Sample;
  /** Rewrites the URL of every request to the relay before it is routed. */
  readonly rewriteUrl?: (url: string) => string;
  /** Converts one request to entries, people and skips. Pure, and never throws, whatever the body is. */
  readonly map: (request: SourceRequest, settings: SourceValues<Name, S, M>) => ReadRequest;
};

/** Returns the source unchanged, and lets TypeScript infer its types. */
export function defineSource<const Name extends string, S extends SettingSchemas, M = never>(
  source: Source<Name, S, M>,
): Source<Name, S, M> {
  return source;
}
