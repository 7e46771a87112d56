import type { IncomingHttpHeaders } from 'node:http';
import type { FastifyInstance } from 'fastify';
import type { ZodTypeProvider } from 'fastify-type-provider-zod';
import { z } from 'zod';
import { toFaults } from '../../ingest/faults.js';
import { toStripePost, type StripeRules } from './map.js';
import type { Parsed } from '../../json.js';
import type { AcceptingDeps, HttpSettings } from '../../http/deps.js';
import { ProblemError } from '../../http/problems.js';
import {
  checkStripeHeader,
  verifyStripeSignature,
  type SignatureRules,
  type Verified,
} from './signature.js';
import {
  markCut,
  openWebhooks,
  readWebhook,
  toRawBody,
  toWebhookAnswer,
  webhookAnswers,
} from '../webhook.js';

const schema = {
  tags: ['stripe'],
  operationId: 'stripe_webhook',
  summary: 'Take a webhook of Stripe',
  description:
    'An Event of Stripe, signed with one of STRIPE_WEBHOOK_SECRETS; without any the answer is 404. Events that are not mapped, and those of test mode, are answered 200 and skipped. A list of more than 5,000 members is left out (`too_long`).',
  security: [{ stripeSignature: [] }],
  headers: z.object({
    'stripe-signature': z.string().meta({ examples: ['t=1767268800,v1=5257a869…'] }),
  }),
  body: z
    .looseObject({ id: z.string(), type: z.string(), data: z.looseObject({}) })
    .meta({ id: 'StripeEvent', description: "Stripe's Event object, as Stripe sends it." }),
  response: webhookAnswers,
};

/** POST /webhooks/stripe. */
export function routeStripe(scope: FastifyInstance, deps: AcceptingDeps): void {
  const { acceptSourced, clock, config } = deps;
  const secrets = (): readonly string[] => config.STRIPE_WEBHOOK_SECRETS;
  const rules = toRules(config);
  const toSignatureRules = (): SignatureRules => ({
    secrets: secrets(),
    toleranceSeconds: config.STRIPE_TOLERANCE_SECONDS,
    now: clock.now(),
  });
  const judge = (verified: Verified): ProblemError | null =>
    verified.ok ? null : toUnauthorized(verified.detail);
  openWebhooks(scope, deps, {
    secrets,
    checkHeaders: ({ headers }) => judge(checkStripeHeader(toHeader(headers), toSignatureRules())),
    checkBody: ({ headers }, bytes) =>
      judge(verifyStripeSignature(toHeader(headers), bytes, toSignatureRules())),
  });
  const routes = scope.withTypeProvider<ZodTypeProvider>();
  routes.post('/webhooks/stripe', { schema }, async (request, reply) => {
    const { text } = toRawBody(request);
    const read = await readWebhook(text, deps);
    const post = markCut(toStripePost(toEvent(read.parsed), rules), read);
    const taken = await acceptSourced(post, { strict: false });
    return reply.code(200).send(toWebhookAnswer(post, taken));
  });
}

function toHeader({ 'stripe-signature': header }: IncomingHttpHeaders): string | undefined {
  return typeof header === 'string' ? header : undefined;
}

function toRules(config: HttpSettings): StripeRules {
  return {
    revenueSource: config.STRIPE_REVENUE_SOURCE,
    takesTestEvents: config.STRIPE_TEST_EVENTS,
    customerIdKey: config.STRIPE_CUSTOMER_ID_KEY,
  };
}

function toUnauthorized(detail: string): ProblemError {
  const headers = { 'www-authenticate': 'Stripe-Signature' };
  return new ProblemError('unauthorized', detail, { headers });
}

/** Of JSON's own faults only: one odd name in its metadata must not keep a payment out. */
function toEvent(parsed: Parsed): unknown {
  if (parsed.ok) return parsed.value;
  const errors = toFaults([parsed.fault]);
  throw new ProblemError('invalid', 'the body is not valid JSON', { errors });
}
