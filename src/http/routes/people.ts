import type { FastifyInstance } from 'fastify';
import type { ZodTypeProvider } from 'fastify-type-provider-zod';
import { z } from 'zod';
import { factKinds } from '../../model/fact.js';
import { storeLanes } from '../../model/lane.js';
import type { HttpViews, ShownPerson } from '../deps.js';
import { ProblemError, toProblemResponses } from '../plugins/problems.js';
import { momentSchema, toMoment } from './schema-parts.js';

const hashSchema = z
  .string()
  .regex(/^[epx][\w-]{22}$/, 'must be the hash of a person, as this route shows it')
  .meta({
    description:
      'Hash of one identifier: the letter of its kind (e, p or x) and 22 characters of SHA-256.',
  });

const heldSchema = z.object({
  id: z.string(),
  lane: z.enum(storeLanes),
  accepted_at: momentSchema,
});

const personSchema = z
  .object({
    hash: hashSchema,
    envelopes: z
      .array(heldSchema.extend({ state: z.enum(['buffered', 'in_flight']) }))
      .meta({ description: 'Accepted and not settled.' }),
    dead_letters: z.array(
      heldSchema.extend({ reason: z.string().meta({ description: 'Code of the reason.' }) }),
    ),
    facts: z
      .array(z.object({ kind: z.enum(factKinds), count: z.int() }))
      .meta({ description: 'What sources keep for later requests.' }),
    erasures: z
      .array(z.string())
      .meta({ description: 'Ids of erasures that are not settled. Look them up as receipts.' }),
    erased: z
      .object({ id: z.string(), at: momentSchema })
      .nullable()
      .meta({ description: 'The latest erasure, and when it last removed something.' }),
  })
  .meta({
    id: 'Person',
    description:
      'What this relay holds about a person, by one identifier. It has ids and counts, and no personal data.',
  });

function toPersonBody({
  hash,
  held,
  erasures,
  erased,
}: ShownPerson): z.output<typeof personSchema> {
  const kinds = factKinds.map((kind) => ({
    kind,
    count: held.facts.filter((fact) => fact.kind === kind).length,
  }));
  return {
    hash,
    envelopes: held.envelopes.map(({ id, lane, state, acceptedAt }) => ({
      ...{ id, lane, accepted_at: toMoment(acceptedAt), state },
    })),
    dead_letters: held.deadLetters.map(({ id, lane, code, acceptedAt }) => ({
      ...{ id, lane, accepted_at: toMoment(acceptedAt), reason: code },
    })),
    facts: kinds.filter(({ count }) => count > 0),
    erasures: [...erasures],
    erased: erased && { id: erased.id, at: toMoment(erased.at) },
  };
}

const identifier = z.string().min(1).max(255).optional();

const query = z.strictObject({
  email: identifier,
  phone_number: identifier,
  distinct_id: identifier,
});

const responses = {
  200: personSchema,
  ...toProblemResponses('invalid', 'unauthorized', 'forbidden', 'unavailable'),
};

const byIdentifier = {
  tags: ['people'],
  operationId: 'find_person',
  summary: 'Show what the relay holds about a person, by exactly one identifier',
  querystring: query,
  response: responses,
};

const byHash = {
  tags: ['people'],
  operationId: 'get_person',
  summary: 'Show what the relay holds about a person, by the hash of an identifier',
  params: z.object({ hash: hashSchema }),
  response: responses,
};

/**
 * GET /v1/people and /v1/people/{hash}. The relay reads all that it holds for this. Its own log names routes
 * by their pattern; a proxy may log the address in a query, so the hash is the better name of a person.
 */
export function routePeople(
  app: FastifyInstance,
  views: Pick<HttpViews, 'person' | 'personByHash'>,
): void {
  const routes = app.withTypeProvider<ZodTypeProvider>();
  routes.get('/v1/people', { schema: byIdentifier }, async (request) => {
    const shown = await views.person(request.query);
    if (shown.ok) return toPersonBody(shown.person);
    throw new ProblemError('invalid', 'the person cannot be looked up', { errors: shown.errors });
  });
  routes.get('/v1/people/:hash', { schema: byHash }, async (request) =>
    toPersonBody(await views.personByHash(request.params.hash)),
  );
}
