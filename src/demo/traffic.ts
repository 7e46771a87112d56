import { entryNames } from '../ingest/schema.js';
import { demoLanes, type Post } from './shop.js';

export type Tally = {
  requests: number;
  accepted: number;
  duplicates: number;
  rejected: number;
};

export type TrafficOptions = {
  readonly url: string;
  readonly posts: readonly Post[];
  /** Concurrent requests. */
  readonly concurrency: number;
  /** Posts in a batch request. */
  readonly batchSize: number;
  readonly onProgress: (sent: number) => void;
};

/** Adds up what two parts of the traffic came to. */
export const addTallies = (one: Tally, other: Tally): Tally => ({
  requests: one.requests + other.requests,
  accepted: one.accepted + other.accepted,
  duplicates: one.duplicates + other.duplicates,
  rejected: one.rejected + other.rejected,
});

type Request = {
  readonly path: string;
  readonly type: string;
  readonly body: string;
  readonly count: number;
};

/**
 * Sends everything: half of it in single requests, as a shop's backend would, and half in NDJSON
 * batches, as an export would.
 */
export async function sendTraffic({
  url,
  posts,
  concurrency,
  batchSize,
  onProgress,
}: TrafficOptions): Promise<Tally> {
  const requests = createRequests(posts, batchSize);
  const tally: Tally = { requests: 0, accepted: 0, duplicates: 0, rejected: 0 };
  let sent = 0;
  const sender = async (): Promise<void> => {
    for (let request = requests.shift(); request !== undefined; request = requests.shift()) {
      const headers = { 'content-type': request.type };
      const response = await fetch(`${url}${request.path}`, {
        method: 'POST',
        headers,
        body: request.body,
      });
      const body = (await response.json()) as RelayResponseBody;
      count(tally, { ...body, httpStatus: response.status }, request.count);
      sent += request.count;
      onProgress(sent);
    }
  };
  await Promise.all(Array.from({ length: concurrency }, sender));
  return tally;
}

function createRequests(posts: readonly Post[], batchSize: number): Request[] {
  const middle = Math.ceil(posts.length / 2);
  const requests: Request[] = posts.slice(0, middle).map(({ lane, body }) => {
    return {
      path: `/v1/${entryNames[lane].many}`,
      type: 'application/json',
      body: JSON.stringify(body),
      count: 1,
    };
  });
  for (const lane of demoLanes) {
    const rest = posts.slice(middle).filter((post) => post.lane === lane);
    for (let from = 0; from < rest.length; from += batchSize) {
      const part = rest.slice(from, from + batchSize);
      const body = part.map((post) => JSON.stringify(post.body)).join('\n');
      requests.push({
        path: `/v1/${entryNames[lane].many}/batch`,
        type: 'application/x-ndjson',
        body,
        count: part.length,
      });
    }
  }
  return requests;
}

type RelayResponseBody = {
  readonly status?: string | number;
  readonly accepted?: number;
  readonly duplicates?: number;
  readonly rejected?: readonly unknown[];
};

function count(
  tally: Tally,
  body: RelayResponseBody & { readonly httpStatus: number },
  posted: number,
): void {
  const { httpStatus } = body;
  tally.requests++;
  if (httpStatus !== 202) {
    tally.rejected += posted;
    return;
  }
  tally.accepted += body.accepted ?? (body.status === 'accepted' ? 1 : 0);
  tally.duplicates += body.duplicates ?? (body.status === 'duplicate' ? 1 : 0);
  tally.rejected += body.rejected?.length ?? 0;
}
