import { z } from 'zod';
import { factKinds } from '../../model/fact.js';
import { isJsonObject } from '../../json/json.js';
import { findNearName } from '../../near-name.js';
import { hmacAlgorithms, hmacEncodings } from '../hmac.js';
import { compileExpression, isFaults, type Expression } from './expression.js';

/** The schema of the section `generic` of the mapping file: webhooks by name. Their secrets are in GENERIC_WEBHOOK_SECRETS. */

const headerName = z.string().regex(/^[\w-]+$/, 'must be the name of a header');

const hmac = z.strictObject({
  header: headerName,
  algorithm: z.enum(hmacAlgorithms, `must be ${hmacAlgorithms.join(', ')}`).default('sha256'),
  encoding: z.enum(hmacEncodings, `must be ${hmacEncodings.join(' or ')}`).default('hex'),
  /** Text before the signature, such as `sha256=`. Values without it are not signatures. */
  prefix: z.string().default(''),
  /** The key of the signature, such as `v1`, if the header is a list of `key=value`. */
  key: z.string().min(1).optional(),
  /** The signed content, in which `{body}`, `{timestamp}` and `{id}` are replaced. */
  signed: z.string().default('{body}'),
  timestampHeader: headerName.optional(),
  /** The key of the time, such as `t`, in the header of the signature. */
  timestampKey: z.string().min(1).optional(),
  toleranceSeconds: z.int().min(1).max(86_400).default(300),
  idHeader: headerName.optional(),
  secretEncoding: z.enum(['text', 'base64', 'hex'], 'must be text, base64 or hex').default('text'),
});

const token = z.strictObject({
  header: headerName.optional(),
  /** Name of a query parameter. */
  query: z.string().min(1).optional(),
  /** Text before the token, such as `Bearer `. */
  prefix: z.string().default(''),
  /** True: the secret is `user:password`, sent as HTTP Basic authentication. */
  basic: z.boolean().default(false),
});

const verify = z
  .strictObject({ hmac: hmac.optional(), token: token.optional() }, 'must hold hmac or token')
  .superRefine((value, context) => {
    const report = (path: readonly string[], message: string): void =>
      context.addIssue({ code: 'custom', path: [...path], message });
    const { hmac: signature, token: secret } = value;
    if ((signature === undefined) === (secret === undefined))
      report([], 'must hold either hmac or token');
    if (signature !== undefined) {
      for (const [name, detail] of findSignatureFaults(signature)) report(['hmac', name], detail);
    }
    if (secret !== undefined && [secret.header, secret.query].filter(Boolean).length !== 1) {
      if (!secret.basic) report(['token'], 'must hold either header or query');
    }
    if (secret?.basic === true && (secret.query !== undefined || secret.prefix !== '')) {
      report(['token', 'basic'], 'needs neither query nor prefix');
    }
  });

function findSignatureFaults(
  signature: z.output<typeof hmac>,
): readonly (readonly [string, string])[] {
  const { signed, timestampHeader, timestampKey, key, idHeader } = signature;
  const isTimed = timestampHeader !== undefined || timestampKey !== undefined;
  const unknown = signed
    .match(/\{\w*\}/g)
    ?.find((each) => !['{body}', '{timestamp}', '{id}'].includes(each));
  return [
    ...(signed.split('{body}').length === 2 ? [] : [['signed', 'must have {body} once'] as const]),
    ...(unknown === undefined
      ? []
      : [['signed', `${unknown} is none of {body}, {timestamp} and {id}`] as const]),
    ...(timestampHeader !== undefined && timestampKey !== undefined
      ? [['timestampKey', 'is in a header of its own already'] as const]
      : []),
    ...(timestampKey !== undefined && key === undefined
      ? [['timestampKey', 'needs key, too'] as const]
      : []),
    ...(isTimed === signed.includes('{timestamp}')
      ? []
      : [
          isTimed
            ? ([
                'signed',
                'must have {timestamp}: a time that is not signed proves nothing',
              ] as const)
            : (['signed', 'has {timestamp}: name timestampHeader or timestampKey'] as const),
        ]),
    ...((idHeader !== undefined) === signed.includes('{id}')
      ? []
      : [['idHeader', 'and {id} in signed belong together'] as const]),
  ];
}

const scalar = z.union([z.string(), z.number(), z.boolean(), z.null()]);
const oneOrMore = z.union([scalar, z.array(scalar).min(1)]);

/** One value, or several of which one must be found. Null matches an absent value. */
const condition = z.union(
  [oneOrMore, z.strictObject({ exists: z.boolean() }), z.strictObject({ not: oneOrMore })],
  'must be a value, a list of values, { exists: true }, { exists: false } or { not: … }',
);
export type Condition = z.output<typeof condition>;

const expression = z.unknown().optional();

const person = {
  email: expression,
  distinct_id: expression,
  phone_number: expression,
  /** ISO 3166 code or English name of the country of phone_number. */
  phone_country: expression,
  /** Keeps the person of the entry for later requests, by kind of object and its id. */
  remember: z.record(z.string(), z.unknown()).optional(),
  /** Looks up the person by objects for which another request keeps the person. */
  person_from: z.record(z.string(), z.unknown()).optional(),
};

const rule = {
  when: z.record(z.string(), condition).default({}),
  /** Creates an entry for each value that this path finds. */
  each: z.string().optional(),
};

const location = z.strictObject({
  address1: expression,
  address2: expression,
  city: expression,
  country: expression,
  region: expression,
  zip: expression,
  timezone: expression,
  ip: expression,
  latitude: expression,
  longitude: expression,
});

const eventRule = z
  .strictObject({
    ...rule,
    ...person,
    event_name: z.unknown().refine((name) => name !== undefined, 'is required'),
    anonymous_id: expression,
    event_time: expression,
    insert_id: expression,
    value: expression,
    currency: expression,
    total_amount: expression,
    order_id: expression,
    /** `minor`: value and total_amount are in the smallest unit of the currency. */
    amounts: z.enum(['major', 'minor'], 'must be major or minor').default('major'),
    properties: expression,
  })
  .superRefine((value, context) => {
    for (const { path, detail } of findRuleFaults(value)) {
      context.addIssue({ code: 'custom', path: [...path], message: detail });
    }
  });
export type EventRule = z.output<typeof eventRule>;

const profileRule = z
  .strictObject({
    ...rule,
    ...person,
    first_name: expression,
    last_name: expression,
    organization: expression,
    locale: expression,
    title: expression,
    image: expression,
    location: location.optional(),
    properties: expression,
  })
  .superRefine((value, context) => {
    for (const { path, detail } of findRuleFaults(value)) {
      context.addIssue({ code: 'custom', path: [...path], message: detail });
    }
  });
export type ProfileRule = z.output<typeof profileRule>;

type Fault = { readonly path: readonly (string | number)[]; readonly detail: string };

/** Members of a rule that hold no expression. */
const fixed: ReadonlySet<string> = new Set(['when', 'each', 'amounts']);
const kinds: readonly string[] = factKinds.filter(
  (kind) => !['delivery', 'consent', 'decision', 'erasure'].includes(kind),
);

function findRuleFaults(value: EventRule | ProfileRule): readonly Fault[] {
  const hasElement = value.each !== undefined;
  const find = (text: Expression, path: readonly (string | number)[]): readonly Fault[] => {
    const compiled = compileExpression(text, hasElement);
    return isFaults(compiled)
      ? compiled.map((each) => ({ detail: each.detail, path: [...path, ...each.path] }))
      : [];
  };
  const members = Object.entries(value).filter(([name]) => !fixed.has(name));
  return [
    ...members.flatMap(([name, text]) => find(text, [name])),
    ...Object.keys(value.when).flatMap((text) => find(text, ['when', text])),
    ...findEachFaults(value),
    ...(['remember', 'person_from'] as const).flatMap((name) =>
      Object.keys(value[name] ?? {}).flatMap((kind): readonly Fault[] => {
        if (kinds.includes(kind)) return [];
        const near = findNearName(kind, kinds);
        const hint = near === null ? '' : `; did you mean ${near}?`;
        return [{ path: [name, kind], detail: `must be one of ${kinds.join(', ')}${hint}` }];
      }),
    ),
  ];
}

function findEachFaults(value: EventRule | ProfileRule): readonly Fault[] {
  const { each } = value;
  if (each === undefined) return [];
  if (!each.startsWith('$')) return [{ path: ['each'], detail: 'must be a JSONPath: $.items[*]' }];
  const compiled = compileExpression(each, false);
  if (isFaults(compiled)) {
    return compiled.map(({ detail }) => ({ path: ['each'], detail }));
  }
  if (!('insert_id' in value) || value.insert_id === undefined) return [];
  const id = compileExpression(value.insert_id, true);
  return isFaults(id) || id.isOfElement
    ? []
    : [
        {
          path: ['insert_id'],
          detail: 'is the same for each element: add an id of it, such as @.id',
        },
      ];
}

const list = <T extends z.ZodType>(member: T) =>
  z
    .array(member)
    .nullish()
    .transform((members): readonly z.output<T>[] => members ?? []);

const webhook = z
  .strictObject(
    {
      verify,
      /** The kind of the request, for metrics and GET /v1/sources. */
      kind: expression,
      /** The id of the delivery, the same in every repetition. */
      delivery: expression,
      events: list(eventRule),
      profiles: list(profileRule),
    },
    'must hold verify, and events or profiles',
  )
  .superRefine((value, context) => {
    if (value.events.length + value.profiles.length === 0) {
      context.addIssue({ code: 'custom', path: [], message: 'has neither events nor profiles' });
    }
    for (const name of ['kind', 'delivery'] as const) {
      const compiled = compileExpression(value[name], false);
      for (const { path, detail } of isFaults(compiled) ? compiled : []) {
        context.addIssue({ code: 'custom', path: [name, ...path], message: detail });
      }
    }
  });
export type Webhook = z.output<typeof webhook>;
export type Verify = z.output<typeof verify>;

const webhookName = /^[a-z0-9][a-z0-9_-]{0,62}$/;

export const genericSection = z
  .record(z.string(), webhook, 'must hold webhooks by their names')
  .superRefine((webhooks, context) => {
    if (!isJsonObject(webhooks)) return;
    for (const name of Object.keys(webhooks).filter((each) => !webhookName.test(each))) {
      const message = 'must be a name for a URL: lower-case letters, digits, - and _';
      context.addIssue({ code: 'custom', path: [name], message });
    }
  });
export type GenericSection = Readonly<Record<string, Webhook>>;
