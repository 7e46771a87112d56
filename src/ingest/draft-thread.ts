import { randomUUID } from 'node:crypto';
import { parentPort, workerData } from 'node:worker_threads';
import { systemClock } from '../clock.js';
import { createDraftMany } from './draft-many.js';
import { encodeDrafts } from './block-codec.js';
import { createToE164 } from './phone.js';
import type { Job, Message, ThreadData } from './threads.js';

/** Runs in a worker thread: drafts the jobs that threads.ts posts, one response for each. */
const { defaultCountry } = workerData as ThreadData;
// Payloads are slices of pools of this size. Node's default of 8 KB (64 in Node 24) would need a new pool
// every 15 events. Payloads live only as long as their request here, since they are copied into its
// response, so that none keeps a large pool in memory.
Buffer.poolSize = 256 * 1024;
const draftMany = createDraftMany({
  clock: systemClock,
  newId: randomUUID,
  toE164: createToE164(defaultCountry),
});

async function respond({ id, posted }: Job): Promise<void> {
  const { buffer, byteOffset, byteLength } = posted.body;
  const body = Buffer.from(buffer, byteOffset, byteLength);
  const drafted = await draftMany({ ...posted, body });
  if (!drafted.ok) {
    postMessage({ id, drafted });
    return;
  }
  const { drafts, ...others } = drafted.built;
  const chunks = encodeDrafts(drafts);
  postMessage({ id, drafted: { ok: true, count: drafted.count, chunks, ...others } }, chunks);
}

function postMessage(message: Message, chunks: readonly Uint8Array[] = []): void {
  // Each chunk has its own ArrayBuffer, which is transferred.
  parentPort?.postMessage(
    message,
    chunks.map(({ buffer }) => buffer as ArrayBuffer),
  );
}

// Drafting throws only for a bug: the unhandled rejection ends the thread, and threads.ts reports it.
parentPort?.on('message', (job: Job) => void respond(job));
postMessage('ready');
