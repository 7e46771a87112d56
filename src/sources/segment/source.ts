import { defineSource } from '../source.js';
import { asObject, asText } from '../json.js';
import { callTypes } from './calls.js';
import { mapSegmentRequest } from './map.js';
import { findCallKind, normalizeSegmentUrl } from './paths.js';
import { segmentSettings } from './settings.js';

/** The source `segment`: requests of the SDKs of Segment and RudderStack. */
export const segment = defineSource({
  name: 'segment',
  settings: segmentSettings,
  secrets: [],
  consent: { channels: ['email', 'sms'], namesLists: true },
  docs: {
    description:
      'For the SDKs of Segment and RudderStack, unchanged: their `host` or `dataPlaneUrl` is the relay, their write key an ingest key. The short paths of analytics.js (`/v1/b`, `/v1/t`, …) and a slash at the end lead here, too. Errors are JSON with `success`, `code` and `message`, and what is worth sending again is a 429.',
    securitySchemes: {
      writeKey: {
        type: 'http',
        scheme: 'basic',
        description:
          'The same keys, as the user; no password. Or `writeKey` in the body or the query.',
      },
    },
  },
  sample: {
    recognizes: ({ body }) => {
      const { batch, type, userId, anonymousId, messageId } = asObject(body);
      const isCall = callTypes.some((each) => each === type);
      return Array.isArray(batch) || (isCall && [userId, anonymousId, messageId].some(Boolean));
    },
    toPath: (body) => `/v1/${asText(asObject(body).type) ?? 'batch'}`,
  },
  rewriteUrl: normalizeSegmentUrl,
  map({ path, body, receivedAt }, current) {
    const request = {
      kind: findCallKind(path),
      value: body,
      issues: [],
      receivedAt,
      settings: current,
    };
    const steps = mapSegmentRequest(request);
    let step = steps.next();
    while (step.done !== true) step = steps.next();
    const read = step.value;
    return read.ok ? read : { ok: false, errors: [{ pointer: '', detail: read.detail }] };
  },
});
