import { systemClock } from '../clock.js';
import {
  type Config,
  type Environment,
  findMisspeltVariables,
  isPlaceholder,
} from '../config/config.js';
import { getLaneApi } from '../klaviyo/lanes/list.js';
import { createKlaviyoClient } from '../klaviyo/client.js';
import { selectProxy } from '../klaviyo/proxy.js';
import { CurrentRevision } from '../klaviyo/revision.js';
import type { Lane } from '../model/lane.js';
import { explainMapping } from '../sources/mapping/explain.js';
import type { Mapping } from '../sources/mapping/mapping.js';
import { readArguments } from './arguments.js';
import {
  bad,
  checkDataDirectory,
  checkPort,
  checkRedis,
  type Finding,
  listLanesInUse,
  ok,
  warn,
} from './checks.js';
import type { Command } from './command.js';
import { withEnvFile } from './environment.js';
import { readConfig, startOptions, withStartOptions } from './start.js';
import { version } from './version.js';

const help = `Usage: klaviyo-relay check [options]

Checks everything that \`klaviyo-relay start\` needs: settings and their names, keys, the data directory
and its disk, the port, Redis, MAPPING_FILE, and whether Klaviyo accepts the key and gives it the scopes
that the relay needs. A missing scope that only some lanes need is BAD if the relay on this port has accepted
something for them, else WARN. Nothing is recorded at Klaviyo. Prints one line for each finding: ok, WARN or BAD.
Exit code 0: nothing is BAD; 1: something is BAD; 2: the command line is invalid.

  --offline        do not send a request to Klaviyo
  --strict         exit with 1 for a WARN as well
  --host, --port, --data-dir   as for start
`;

const options = {
  ...startOptions,
  offline: { type: 'boolean', default: false },
  strict: { type: 'boolean', default: false },
} as const;

/** Validates the configuration and its effects. */
export const checkCommand: Command = {
  help,
  async run({ args, env }) {
    const { values } = readArguments({ args, options });
    const settings = withStartOptions(withEnvFile(env), values);
    const config = readConfig(settings);
    if (config === null) return 1;
    let isGood = true;
    for await (const { level, what, detail } of checkAll(config, settings, values.offline)) {
      process.stdout.write(`${level.padEnd(4)} ${what}: ${detail}\n`);
      isGood &&= level === 'ok' || (level === 'WARN' && !values.strict);
    }
    return isGood ? 0 : 1;
  },
};

/** Returns the findings of `start` with these settings, in the order in which it would meet them. */
export async function* checkAll(
  config: Config,
  env: Environment,
  isOffline: boolean,
): AsyncGenerator<Finding> {
  yield ok('configuration', `store ${config.STORE}, listens on ${config.HOST}:${config.PORT}`);
  yield* findMisspelt(env);
  yield* findKeys(config);
  const revision = createRevision(config);
  if (isOffline) yield explainRevision(revision);
  const port = await checkPort(config);
  if (config.STORE === 'journal') yield* await checkDataDirectory(config, port.isOurs);
  yield port.finding;
  yield* await checkRedis(config);
  if (config.MAPPING_FILE !== undefined) yield* listMapping(config.MAPPING_FILE);
  if (!isOffline) {
    const inUse = port.isOurs ? await listLanesInUse(config) : [];
    yield* await checkKeyScopes(config, revision, inUse);
    yield explainRevision(revision);
  }
}

/** Many other programs read variables with these prefixes, so a misspelt one is only a warning. */
const commonNames = /^(?:REDIS|LOG)_/;

function findMisspelt(env: Environment): readonly Finding[] {
  return findMisspeltVariables(env).map(({ name, meant }) => {
    const level = commonNames.test(name) ? warn : bad;
    return level('variable', `nothing reads ${name}; did you mean ${meant}?`);
  });
}

/** The keys in docker-compose.yml, which are public. */
const publishedKeys = ['local-ingest-key', 'local-admin-key'];

function* findKeys(config: Config): Generator<Finding> {
  const { RELAY_API_KEYS: ingest, RELAY_ADMIN_KEYS: admin } = config;
  if (ingest.length + admin.length === 0) {
    yield ok('keys', 'none: the relay serves only this machine');
  }
  for (const [name, keys] of Object.entries({ RELAY_API_KEYS: ingest, RELAY_ADMIN_KEYS: admin })) {
    if (keys.some(isPlaceholder)) yield bad('keys', `${name} holds a placeholder; generate a key`);
    else if (keys.some((key) => publishedKeys.includes(key)))
      yield warn('keys', `${name} holds the published key of docker-compose.yml; generate a key`);
    else if (keys.length > 0) yield ok('keys', `${keys.length} in ${name}`);
  }
}

const createRevision = (config: Config): CurrentRevision =>
  new CurrentRevision({
    setting: config.KLAVIYO_REVISION,
    now: systemClock.now(),
    onMove: () => undefined,
  });

function explainRevision(revision: CurrentRevision): Finding {
  const warning = revision.warning(systemClock.now());
  return warning === null ? ok('revision', revision.explain()) : warn('revision', warning);
}

async function checkKeyScopes(
  config: Config,
  revision: CurrentRevision,
  inUse: readonly Lane[],
): Promise<readonly Finding[]> {
  const client = createKlaviyoClient({
    apiKey: () => config.KLAVIYO_API_KEY,
    baseUrl: config.KLAVIYO_BASE_URL,
    revision,
    timeoutMs: config.KLAVIYO_TIMEOUT_MS,
    connections: 1,
    proxy: selectProxy(config.KLAVIYO_BASE_URL, config),
    clock: systemClock,
    version,
  });
  try {
    const before = revision.current;
    let scopes = await client.probeScopes();
    // If the revision alone was rejected, the scopes are requested again under the revision that
    // replaces it.
    if (revision.current !== before) scopes = await client.probeScopes();
    return scopes.map(({ scope, ok: isGiven, detail, neededFor }) => {
      if (isGiven) return ok(scope, detail);
      if (neededFor === undefined) return bad(scope, detail);
      const used = neededFor.filter((lane) => inUse.includes(lane));
      if (used.length === 0) return warn(scope, `${detail}; only ${toNouns(neededFor)} need it`);
      const are = `the relay has ${toNouns(used)}, which need it`;
      return bad(scope, `${detail}; ${are}`);
    });
  } finally {
    await client.close();
  }
}

const toNouns = (named: readonly Lane[]): string =>
  named.map((lane) => getLaneApi(lane).settings.noun).join(' and ');

function listMapping(mapping: Mapping): readonly Finding[] {
  return explainMapping(mapping).flatMap(({ source, lines }) =>
    lines.map((line) => ok(source, line)),
  );
}
