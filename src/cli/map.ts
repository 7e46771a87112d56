import { readFile } from 'node:fs/promises';
import type { IncomingHttpHeaders } from 'node:http';
import { gunzipSync } from 'node:zlib';
import { randomUUID } from 'node:crypto';
import { systemClock } from '../clock.js';
import { entryNames } from '../ingest/schema.js';
import { postedLanes, type PostedLane } from '../model/lane.js';
import { isJsonObject, parseJson, stringifyJson } from '../json/json.js';
import { findNearName } from '../near-name.js';
import { sourceNames, sources, type SourceName } from '../sources/list.js';
import { readArguments, suggest, UsageError } from './arguments.js';
import type { Command } from './command.js';
import { withEnvFile } from './environment.js';
import { print } from './outputs.js';
import { readConfig } from './start.js';
import { formatTried } from './trial-report.js';
import { createTrial, hasRejection, type Trial, type Tried, type TriedRequest } from './trial.js';

const types = postedLanes.map((lane) => entryNames[lane].many);

const help = `Usage: klaviyo-relay map FILE [options]

Shows what an input would become: Klaviyo's JSON, what is skipped, warned about or rejected, and which
facts are kept for later requests. It sends nothing, writes nothing and needs no running relay. It reads
settings and MAPPING_FILE as start does, but does not need KLAVIYO_API_KEY. FILE is \`-\` for stdin.

The file has one JSON document, or one a line. All documents share the kept facts, so that you can try an
order and its refund together. A line may also be \`{"topic": …, "headers": …, "path": …, "body": …}\`.

  --source NAME        ${sourceNames.join(', ')}. Absent: detected from the body or the headers
  --topic TOPIC        the topic, such as orders/create, of a webhook whose body does not contain it
  --header NAME=VALUE  a header of the request; may be repeated
  --path PATH          the path of the request, such as /v1/identify
  --type TYPE          ${types.join(', ')}: the file has bodies for the path of this name
  --json               print one JSON document for each request

Exit code 0: everything would be sent, held for a person, or skipped; 1: something would be rejected
or become a dead letter; 2: the command line or the input is invalid.
`;

const options = {
  source: { type: 'string' },
  topic: { type: 'string' },
  header: { type: 'string', multiple: true },
  path: { type: 'string' },
  type: { type: 'string' },
  json: { type: 'boolean', default: false },
} as const;

/** Shows what the sources, the schemas and the mapping file make of an input. */
export const mapCommand: Command = {
  help,
  async run({ args, env }) {
    const { values, positionals } = readArguments({ args, options, maxPositionals: 1 });
    const [file] = positionals;
    if (file === undefined) throw new UsageError('name a file, or - for stdin');
    const defaults = {
      source: values.source === undefined ? undefined : parseSourceName(values.source),
      lane: values.type === undefined ? undefined : parseLane(values.type),
      topic: values.topic,
      path: values.path,
      headers: parseHeaders(values.header ?? []),
    };
    const settings = withEnvFile(env);
    const config = readConfig({ ...settings, ...(hasKey(settings) ? {} : placeholderKey) });
    if (config === null) return 1;
    const trial = createTrial({ config, clock: systemClock, newId: randomUUID });
    const inputs = readInputs(await readInputText(file));
    let isGood = true;
    for (const [index, { body, place }] of inputs.entries()) {
      const tried = await tryOne(trial, selectRequest(body, defaults, place));
      isGood &&= !hasRejection(tried);
      await print(
        values.json
          ? `${stringifyJson(tried)}\n`
          : formatTried(tried, { index, of: inputs.length }),
      );
    }
    return isGood ? 0 : 1;
  },
};

/** A key that satisfies the configuration. It is never sent. */
const placeholderKey = {
  KLAVIYO_API_KEY: `pk_${'0'.repeat(31)}1`,
  KLAVIYO_API_KEY_FILE: undefined,
};

const hasKey = (settings: Readonly<Record<string, string | undefined>>): boolean =>
  [settings.KLAVIYO_API_KEY, settings.KLAVIYO_API_KEY_FILE].some((each) => (each ?? '') !== '');

function parseSourceName(given: string): SourceName {
  const name = sourceNames.find((each) => each === given);
  if (name !== undefined) return name;
  const near = suggest(findNearName(given, [...sourceNames]));
  throw new UsageError(`unknown source "${given}"${near}`);
}

function parseLane(given: string): PostedLane {
  const lane = postedLanes.find((each) => entryNames[each].many === given);
  if (lane === undefined) throw new UsageError(`--type must be one of ${types.join(', ')}`);
  return lane;
}

function parseHeaders(given: readonly string[]): IncomingHttpHeaders {
  const pairs = given.map((each) => {
    const [, name, value] = /^([^=:]+)\s*[=:]\s*(.*)$/s.exec(each) ?? [];
    if (name === undefined) throw new UsageError('--header must be NAME=VALUE');
    return [name.trim().toLowerCase(), value];
  });
  return Object.fromEntries(pairs) as IncomingHttpHeaders;
}

async function readInputText(file: string): Promise<string> {
  const bytes = file === '-' ? await readStdin() : await readFile(file);
  const isGzip = bytes[0] === 0x1f && bytes[1] === 0x8b;
  return (isGzip ? gunzipSync(bytes) : bytes).toString('utf8').replace(/^\uFEFF/, '');
}

async function readStdin(): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of process.stdin) chunks.push(Buffer.from(chunk as Uint8Array));
  return Buffer.concat(chunks);
}

type Input = { readonly body: unknown; readonly place: string };

/** Reads one document, or one a line. Throws UsageError if the text is neither. */
function readInputs(text: string): readonly Input[] {
  const whole = parseJson(text);
  if (whole.ok) {
    const isList = Array.isArray(whole.value) && whole.value.length > 0;
    const all: readonly unknown[] = isList ? (whole.value as unknown[]) : [whole.value];
    return all.map((body, at) => ({ body, place: isList ? `element ${at}` : 'the file' }));
  }
  const lines = text.split('\n').flatMap((line, at) => (/\S/.test(line) ? [{ line, at }] : []));
  if (lines.length < 2) throw new UsageError(`the file ${whole.issue.detail}`);
  return lines.map(({ line, at }) => {
    const parsed = parseJson(line);
    const place = `line ${at + 1}`;
    if (!parsed.ok) throw new UsageError(`${place} ${parsed.issue.detail}`);
    return { body: parsed.value, place };
  });
}

/** The options of the command line. They apply to lines that do not contain the value. */
type Defaults = {
  readonly source: SourceName | undefined;
  readonly lane: PostedLane | undefined;
  readonly topic: string | undefined;
  readonly path: string | undefined;
  readonly headers: IncomingHttpHeaders;
};

/** Throws UsageError if the kind of the input is ambiguous. */
function selectRequest(input: unknown, defaults: Defaults, place: string): TriedRequest {
  const { body, ...own } = unwrapInput(input);
  const path = own.path ?? defaults.path;
  const topic = own.topic ?? defaults.topic;
  const headers = { ...defaults.headers, ...own.headers };
  if (defaults.lane !== undefined) return { kind: 'plain', lane: defaults.lane, body };
  const source =
    sources.find(({ name }) => name === defaults.source || path === `/webhooks/${name}`) ??
    sources.find(({ sample }) => sample?.recognizes({ headers, body }));
  if (source !== undefined) return createSourceRequest(source, { topic, path, headers }, body);
  const lane = detectPlainLane(body, path);
  if (lane !== undefined) return { kind: 'plain', lane, body };
  throw new UsageError(`the source of ${place} is ambiguous; use --source or --type`);
}

function createSourceRequest(
  { name, sample }: (typeof sources)[number],
  { topic, path, headers }: Pick<Defaults, 'topic' | 'path' | 'headers'>,
  body: unknown,
): TriedRequest {
  const { topicHeader, toPath, headers: usual } = sample ?? {};
  if (topic !== undefined && topicHeader === undefined) {
    throw new UsageError(`--topic cannot be used with ${name}: the topic is in the body`);
  }
  const named = topicHeader === undefined || topic === undefined ? {} : { [topicHeader]: topic };
  return {
    kind: 'source',
    name,
    path: path ?? toPath?.(body) ?? '/',
    headers: { ...usual, ...headers, ...named },
    body,
  };
}

/** The parts of a request that a line may contain around its body. */
function unwrapInput(
  input: unknown,
): Partial<Omit<Defaults, 'source' | 'lane'>> & { body: unknown } {
  const isWrapped =
    isJsonObject(input) &&
    isJsonObject(input.body) &&
    Object.keys(input).every((name) => ['body', 'headers', 'path', 'topic'].includes(name));
  if (!isWrapped) return { body: input };
  const { body, headers, path, topic } = input;
  const pairs = isJsonObject(headers) ? Object.entries(headers) : [];
  return {
    body,
    headers: Object.fromEntries(pairs.map(([name, value]) => [name.toLowerCase(), String(value)])),
    ...(typeof path === 'string' && { path }),
    ...(typeof topic === 'string' && { topic }),
  };
}

/** Detects the lane. No field occurs only in profiles, so these need the path or --type. */
function detectPlainLane(body: unknown, path: string | undefined): PostedLane | undefined {
  const lane = postedLanes.find((each) => path === `/v1/${entryNames[each].many}`);
  if (lane !== undefined) return lane;
  return isJsonObject(body) && 'event_name' in body ? 'events' : undefined;
}

function tryOne(trial: Trial, request: TriedRequest): Promise<Tried> {
  return request.kind === 'plain' ? trial.plain(request) : trial.source(request);
}
