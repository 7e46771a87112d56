import { systemClock } from '../clock.js';
import { revisionWarning, type Config } from '../config.js';
import { explainMapping } from '../ingest/explain-mapping.js';
import type { Mapping } from '../ingest/mapping.js';
import { createKlaviyoClient } from '../klaviyo/client.js';
import type { Command } from './command.js';
import { readConfig } from './start.js';
import { version } from './version.js';

const help = `Usage: klaviyo-relay check [--offline]

Validates the configuration, explains what MAPPING_FILE does to each source, and asks Klaviyo once
whether the key works and has the scopes that the relay needs. Nothing is recorded at Klaviyo.
Exit code 0: fine; 1: something is wrong.

  --offline   do not ask Klaviyo
`;

/** Validates the configuration, and the key against Klaviyo. */
export const command: Command = {
  help,
  async run({ args, env }) {
    const config = readConfig(env);
    if (config === null) return 1;
    say(true, 'configuration', `store ${config.STORE}, listens on ${config.HOST}:${config.PORT}`);
    const revision = revisionWarning(config.KLAVIYO_REVISION, systemClock.now());
    if (revision !== null) say(false, 'revision', revision);
    if (config.MAPPING_FILE !== undefined) sayMapping(config.MAPPING_FILE);
    return args.includes('--offline') ? 0 : askKlaviyo(config);
  },
};

async function askKlaviyo(config: Config): Promise<number> {
  const client = createKlaviyoClient({
    apiKey: config.KLAVIYO_API_KEY,
    baseUrl: config.KLAVIYO_BASE_URL,
    revision: config.KLAVIYO_REVISION,
    timeoutMs: config.KLAVIYO_TIMEOUT_MS,
    connections: 1,
    clock: systemClock,
    version,
  });
  try {
    const scopes = await client.probeScopes();
    for (const { scope, ok, detail } of scopes) say(ok, scope, detail);
    return scopes.every(({ ok }) => ok) ? 0 : 1;
  } finally {
    await client.close();
  }
}

function sayMapping(mapping: Mapping): void {
  for (const { source, lines } of explainMapping(mapping)) {
    for (const line of lines) say(true, source, line);
  }
}

function say(ok: boolean, what: string, detail: string): void {
  process.stdout.write(`${ok ? 'ok  ' : 'BAD '} ${what}: ${detail}\n`);
}
