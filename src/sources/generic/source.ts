import { z } from 'zod';
import { findNearName } from '../../near-name.js';
import { defineWebhookSource } from '../webhook.js';
import { explainGeneric } from './explain.js';
import { mapGenericWebhook } from './map.js';
import { genericSection, type GenericSection, type Webhook } from './section.js';
import { checkCallerBody, checkCallerHeaders, decodeSecret } from './verify.js';

const minSecretChars = 8;

/** `NAME=SECRET`, one a line or comma-separated. A comma that is not followed by `NAME=` belongs to the secret. */
const secrets = z
  .string()
  .default('')
  .transform((text, context): Readonly<Record<string, readonly string[]>> => {
    const byName = new Map<string, string[]>();
    for (const part of text.split(/\n|,(?=\s*[a-z0-9][a-z0-9_-]{0,62}=)/)) {
      if (part.trim() === '') continue;
      const [, name, secret = ''] = /^\s*([a-z0-9][a-z0-9_-]{0,62})=(.*?)\s*$/.exec(part) ?? [];
      if (name === undefined) {
        context.addIssue('must be NAME=SECRET, one a line, with the names of MAPPING_FILE');
        return z.NEVER;
      }
      if (secret.length < minSecretChars) {
        context.addIssue(`each secret must have at least ${minSecretChars} characters`);
        return z.NEVER;
      }
      byName.set(name, [...(byName.get(name) ?? []), secret]);
    }
    return Object.fromEntries(byName);
  });

const settings = {
  GENERIC_WEBHOOK_SECRETS: secrets.describe(
    'Secrets of the webhooks under `generic` in `MAPPING_FILE`, as NAME=SECRET, one a line or comma-separated (or `GENERIC_WEBHOOK_SECRETS_FILE`); a name that is there several times allows rotation',
  ),
} as const;

type Values = {
  readonly GENERIC_WEBHOOK_SECRETS: Readonly<Record<string, readonly string[]>>;
  readonly MAPPING_FILE?: { readonly generic?: GenericSection | undefined } | undefined;
};

/** The source `generic`: POST /webhooks/generic/{name}. */
export const generic = defineWebhookSource<'generic', typeof settings, GenericSection>({
  name: 'generic',
  settings,
  secrets: ['GENERIC_WEBHOOK_SECRETS'],
  docs: {
    description: 'Webhooks of any system that posts JSON, by the mapping file.',
    securitySchemes: {
      genericSignature: {
        type: 'apiKey',
        in: 'header',
        name: 'Authorization',
        description:
          'An HMAC or a token in the header, or in the query, that MAPPING_FILE names for the webhook.',
      },
    },
  },
  mapping: {
    schema: genericSection,
    explain: ({ MAPPING_FILE: mapping }) => explainGeneric(mapping?.generic),
  },
  findContradictions: findSecretContradictions,
  path: '/webhooks/generic/:name',
  schema: {
    operationId: 'accept_generic_webhook',
    summary: 'Accept a webhook by the mapping file',
    description: [
      'The section `generic` of MAPPING_FILE has, for each name, how a request is verified and what it becomes. All rules that hold for a request are applied; a request for which none holds is answered 200 and counted as skipped.',
      '404 where MAPPING_FILE has no webhook of this name.',
    ].join('\n\n'),
    params: z.object({ name: z.string().meta({ examples: ['paddle'] }) }),
    body: z.unknown().meta({ description: 'Any JSON, in any content type.' }),
  },
  signature: ({ settings: current, clock }) => {
    const createVerifyContext = (name: string) => ({
      secrets: current.GENERIC_WEBHOOK_SECRETS[name] ?? [],
      now: clock.now(),
    });
    return {
      challenge: 'Webhook realm="klaviyo-relay"',
      isConfigured: ({ url }) => findWebhook(current, readWebhookName(url)) !== undefined,
      checkHeaders(caller) {
        const name = readWebhookName(caller.url);
        const webhook = findWebhook(current, name);
        if (webhook === undefined) return notConfigured;
        return checkCallerHeaders(webhook.verify, caller, createVerifyContext(name));
      },
      checkBody({ headers, url }, bytes) {
        const name = readWebhookName(url);
        const webhook = findWebhook(current, name);
        if (webhook === undefined) return notConfigured;
        return checkCallerBody(webhook.verify, { headers, url, bytes }, createVerifyContext(name));
      },
    };
  },
  map({ path, headers, body }, current) {
    const name = readWebhookName(path);
    const webhook = findWebhook(current, name);
    if (webhook === undefined) {
      const detail = 'MAPPING_FILE has no webhook of this name';
      return { ok: false, errors: [{ pointer: '', detail }] };
    }
    return { ok: true, post: mapGenericWebhook(webhook, { name, headers, body }) };
  },
});

function findWebhook({ MAPPING_FILE: mapping }: Values, name: string): Webhook | undefined {
  const webhooks = mapping?.generic ?? {};
  return Object.hasOwn(webhooks, name) ? webhooks[name] : undefined;
}

/** Reads the name of the webhook: the last part of the path. */
function readWebhookName(url: string): string {
  return (
    url
      .split('?', 1)[0]
      ?.split('/')
      .findLast((part) => part !== '') ?? ''
  );
}

function findSecretContradictions(values: Values): readonly string[] {
  const { MAPPING_FILE: mapping, GENERIC_WEBHOOK_SECRETS: all } = values;
  const webhooks = Object.entries(mapping?.generic ?? {});
  const names = webhooks.map(([name]) => name);
  const report = (text: string): string => `GENERIC_WEBHOOK_SECRETS: ${text}`;
  return [
    ...webhooks.flatMap(([name, { verify }]) => {
      const secretsOf = all[name] ?? [];
      if (secretsOf.length === 0)
        return [report(`has no secret for the webhook ${name} of MAPPING_FILE`)];
      const { hmac } = verify;
      const isEncoded =
        hmac === undefined || secretsOf.every((secret) => decodeSecret(secret, hmac) !== null);
      return isEncoded ? [] : [report(`a secret of ${name} is not in ${hmac.secretEncoding}`)];
    }),
    ...Object.keys(all).flatMap((name) => {
      if (names.includes(name)) return [];
      const near = findNearName(name, names);
      const hint = near === null ? '' : `; did you mean ${near}?`;
      return [report(`names ${name}, and MAPPING_FILE has no webhook of this name${hint}`)];
    }),
  ];
}

const notConfigured = 'is not configured any more';
