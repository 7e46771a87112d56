import type { FastifyReply, FastifyRequest } from 'fastify';
import { z } from 'zod';
import type { AcceptedFromSource, Rejected } from '../../../ingest/accept-from-source.js';
import { maxListed } from '../../../ingest/draft-many.js';
import { describeIssues } from '../../../ingest/validation.js';
import type { MappedSegmentRequest } from '../../../sources/segment/map.js';
import { keepConnection, type ProblemError, toLoggedProblem } from '../../plugins/problems.js';
import type { Unadmitted } from '../../plugins/unadmitted.js';
import { toTextResponse } from '../schema-parts.js';
import { createWriteKeyProblem } from './segment-write-keys.js';

/** Responses in the form that the SDKs of Segment expect (upstream-contracts 4.1, 4.3). */

const rejectedSchema = z
  .array(
    z.object({
      index: z.int().meta({ description: 'Place in the batch, from 0.' }),
      messageId: z.string().optional(),
      code: z.string().meta({ description: 'Short and stable.' }),
      message: z.string(),
    }),
  )
  .meta({
    description:
      'What cannot be sent to Klaviyo. Calls whose fields are at fault are among the dead letters; what is no call at all is nowhere.',
  });

const unlistedSchema = z.int().optional().meta({
  description: 'How many more were rejected, where `rejected` is too long to list all.',
});

const warningsSchema = z
  .array(
    z.object({
      index: z.int().meta({ description: 'Place in the batch, from 0.' }),
      messageId: z.string().optional(),
      code: z.string().meta({ description: 'Short and stable.', examples: ['unreadable_amount'] }),
      message: z.string(),
    }),
  )
  .meta({ description: 'What could not be read or was altered. The call was accepted.' });

export const segmentAcceptedSchema = z
  .object({
    success: z.literal(true),
    accepted: z.int(),
    duplicates: z.int(),
    waiting: z.int().optional().meta({
      description:
        'Entries that wait until a request identifies their person. They are sent then. Absent: none.',
    }),
    rejected: rejectedSchema,
    rejected_unlisted: unlistedSchema,
    warnings: warningsSchema,
    warnings_unlisted: z.int().optional().meta({
      description: 'How many more warnings there are, where `warnings` is too long to list all.',
    }),
  })
  .meta({
    id: 'SegmentAccepted',
    description:
      'What was accepted is safe in the store: `accepted` counts events, profiles, subscriptions and unsubscriptions, and a completed order becomes several. Calls not meant for Klaviyo (group, alias, merge, integrations that are off, consents that are off, traits of an anonymousId alone) are counted in relay_source_skipped_total alone.',
  });

export const segmentErrorSchema = z
  .object({
    success: z.literal(false),
    code: z.string().meta({ examples: ['invalid_write_key'] }),
    message: z.string(),
    rejected: rejectedSchema.optional(),
    rejected_unlisted: unlistedSchema,
  })
  .meta({ id: 'SegmentError', description: 'Nothing was taken.' });

export const segmentErrors = {
  400: toTextResponse(
    'Not JSON, too large, or in strict mode a call that is not valid. Not worth sending again.',
    segmentErrorSchema,
  ),
  401: toTextResponse('The write key is missing or not known.', segmentErrorSchema),
  403: toTextResponse('Without keys only this machine is served.', segmentErrorSchema),
  429: toTextResponse(
    'Over the quota of this caller, or the relay takes nothing right now. Send again when Retry-After says so: 1 to 300 seconds.',
    segmentErrorSchema,
  ),
  500: toTextResponse('The relay failed.', segmentErrorSchema),
};

/** The first rejected calls, and the number of further ones if the list is too long. */
export type RejectedCalls = {
  readonly rejected: z.output<typeof rejectedSchema>;
  readonly rejected_unlisted?: number;
};

/** Lists invalid calls and calls whose entries were rejected, in the order of the batch. */
export function listRejectedCalls(
  { invalidCalls: noCalls, messageIds }: Extract<MappedSegmentRequest, { ok: true }>,
  rejected: readonly Rejected[],
): RejectedCalls {
  const views = [
    ...noCalls.map(({ index, code, detail }) => ({ index, code, toMessage: () => detail })),
    ...rejected.map(({ index, code, errors }) => ({
      index,
      code,
      toMessage: () => describeIssues(errors),
    })),
  ].sort((a, b) => a.index - b.index);
  const listed = views.slice(0, maxListed).map(({ index, code, toMessage }) => {
    const messageId = messageIds[index];
    return { index, ...(messageId !== undefined && { messageId }), code, message: toMessage() };
  });
  const unlisted = views.length - listed.length;
  return { rejected: listed, ...(unlisted > 0 && { rejected_unlisted: unlisted }) };
}

export type CallWarnings = {
  readonly warnings: z.output<typeof warningsSchema>;
  readonly warnings_unlisted?: number;
};

/** Lists warnings, bounded as the list of rejected calls. */
export function listCallWarnings(
  { messageIds }: Extract<MappedSegmentRequest, { ok: true }>,
  warnings: Extract<AcceptedFromSource, { kind: 'accepted' }>['warnings'],
): CallWarnings {
  const listed = warnings.slice(0, maxListed).map(({ index, code, pointer, detail }) => {
    const messageId = messageIds[index];
    const message = describeIssues([{ pointer, detail }]);
    return { index, ...(messageId !== undefined && { messageId }), code, message };
  });
  const unlisted = warnings.length - listed.length;
  return { warnings: listed, ...(unlisted > 0 && { warnings_unlisted: unlisted }) };
}

/**
 * Creates the error handler of these routes. A caller without a valid key gets a 401 for any error, or a
 * 429 if the relay is unavailable.
 */
export function createSegmentErrorHandler(
  isAdmitted: (request: FastifyRequest) => boolean,
  unadmitted: Pick<Unadmitted, 'recordFailure'>,
) {
  return (error: unknown, request: FastifyRequest, reply: FastifyReply): void => {
    const found = toLoggedProblem(error, request);
    const isFinal = isAdmitted(request) || found.kind === 'unavailable';
    const problem = isFinal ? found : unadmitted.recordFailure(request, createWriteKeyProblem());
    keepConnection(reply);
    // The caller may still hold back the rest of its body, so the connection is closed.
    if (found.kind === 'timeout') reply.header('connection', 'close');
    reply
      .code(selectStatusCode(problem))
      .headers(limitRetryAfter(problem))
      .send(createErrorBody(problem));
  };
}

/**
 * Selects the status code. SDKs up to 2.x repeat a request after every status but 2xx and 400, and
 * observe Retry-After with 429 alone. So a request that can never succeed gets a 400, as from Segment, and
 * one that may succeed later gets a 429.
 */
function selectStatusCode({ kind }: ProblemError): number {
  switch (kind) {
    case 'unauthorized':
      return 401;
    case 'forbidden':
      return 403;
    case 'over-quota':
    case 'too-many-failures':
    case 'unavailable':
      return 429;
    case 'internal':
      return 500;
    default:
      return 400;
  }
}

/** analytics-node waits at most this long, whatever Retry-After says. */
const longestWaitSeconds = 300;

function limitRetryAfter({ headers }: ProblemError): Readonly<Record<string, string>> {
  const wait = headers['retry-after'];
  if (wait === undefined) return headers;
  return { ...headers, 'retry-after': String(Math.min(Number(wait), longestWaitSeconds)) };
}

function createErrorBody({
  kind,
  message,
  errors,
}: ProblemError): z.output<typeof segmentErrorSchema> {
  const code = kind === 'unauthorized' ? 'invalid_write_key' : kind.replaceAll('-', '_');
  const why = errors.length === 0 ? message : `${message}: ${describeIssues(errors)}`;
  return { success: false, code, message: why };
}
