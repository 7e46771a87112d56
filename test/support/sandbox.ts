import { startSandbox } from '../../src/sandbox/sandbox.js';
import type { RunningSandbox, SandboxOptions } from '../../src/sandbox/sandbox.js';
import { createManualClock, settlePromises } from './manual-clock.js';
import type { ManualClock } from './manual-clock.js';

export type JsonMap = Record<string, unknown>;

export type SandboxResponse = {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  /** The body as JSON; an empty object if it is not JSON. */
  readonly body: JsonMap;
  /** `errors` of the body. */
  readonly errors: readonly ErrorView[];
};

export type ErrorView = {
  readonly id: string;
  readonly status: number;
  readonly code: string;
  readonly title: string;
  readonly detail: string;
  readonly source: { readonly pointer?: string; readonly parameter?: string };
};

export type SandboxUnderTest = {
  readonly clock: ManualClock;
  readonly sandbox: RunningSandbox;
  readonly post: (
    path: string,
    body: unknown,
    headers?: Record<string, string>,
  ) => Promise<SandboxResponse>;
  readonly get: (path: string, headers?: Record<string, string>) => Promise<SandboxResponse>;
  /** Sends only the headers of `init`. `path` may be a whole URL, such as a link in a response. */
  readonly send: (path: string, init: RequestInit) => Promise<SandboxResponse>;
};

export const goodHeaders = {
  authorization: 'Klaviyo-API-Key pk_test_1',
  revision: '2024-10-15',
  'content-type': 'application/vnd.api+json',
};

/**
 * A sandbox on a manual clock that stands at 2026-11-01T12:00:00Z. Rate windows are off unless a
 * test sets them.
 */
export async function startTestSandbox(
  options: Partial<SandboxOptions> = {},
): Promise<SandboxUnderTest> {
  const clock = createManualClock(Date.UTC(2026, 10, 1, 12));
  const sandbox = await startSandbox({ clock, windows: 'off', ...options });
  const send = async (path: string, init: RequestInit): Promise<SandboxResponse> => {
    const response = await fetch(path.startsWith('/') ? `${sandbox.url}${path}` : path, init);
    const text = await response.text();
    const isJson = response.headers.get('content-type')?.includes('json') === true;
    const body = (isJson ? JSON.parse(text) : {}) as JsonMap;
    const errors = (body.errors ?? []) as readonly ErrorView[];
    return { status: response.status, headers: response.headers, text, body, errors };
  };
  return {
    clock,
    sandbox,
    send,
    get: (path, headers = {}) => send(path, { headers: { ...goodHeaders, ...headers } }),
    post: (path, body, headers = {}) =>
      send(path, {
        method: 'POST',
        headers: { ...goodHeaders, ...headers },
        body: typeof body === 'string' ? body : JSON.stringify(body),
      }),
  };
}

/** Runs the event loop until the condition holds, without advancing any clock. */
export async function turnsUntil(condition: () => boolean): Promise<void> {
  for (let turn = 0; turn < 10_000; turn++) {
    if (condition()) return;
    await settlePromises(1);
  }
  throw new Error('never came true');
}

/** One event, as a request contains it. */
export function toEvent(overrides: JsonMap = {}, name: unknown = 'Placed Order'): JsonMap {
  return {
    type: 'event',
    attributes: {
      properties: {},
      metric: { data: { type: 'metric', attributes: { name } } },
      ...overrides,
    },
  };
}

/** One element of a bulk request: a profile with its events. */
export function toWrapper(profile: JsonMap, events: readonly JsonMap[] = [toEvent()]): JsonMap {
  return {
    type: 'event-bulk-create',
    attributes: {
      profile: { data: { type: 'profile', attributes: profile } },
      events: { data: events },
    },
  };
}

export function toBulkEvents(wrappers: readonly unknown[]): JsonMap {
  return {
    data: {
      type: 'event-bulk-create-job',
      attributes: { 'events-bulk-create': { data: wrappers } },
    },
  };
}

/** The body of `POST /api/events`. */
export function toSingleEvent(profile: JsonMap, overrides: JsonMap = {}): JsonMap {
  return {
    data: toEvent({ profile: { data: { type: 'profile', attributes: profile } }, ...overrides }),
  };
}

export function toBulkProfiles(profiles: readonly JsonMap[], lists?: readonly string[]): JsonMap {
  return {
    data: {
      type: 'profile-bulk-import-job',
      attributes: {
        profiles: { data: profiles.map((attributes) => ({ type: 'profile', attributes })) },
      },
      ...(lists && {
        relationships: { lists: { data: lists.map((id) => ({ type: 'list', id })) } },
      }),
    },
  };
}

export function toProfileImport(attributes: JsonMap, meta?: JsonMap): JsonMap {
  return { data: { type: 'profile', attributes, ...(meta && { meta }) } };
}
