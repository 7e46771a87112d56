import { randomUUID } from 'node:crypto';
import { parentPort, workerData } from 'node:worker_threads';
import { systemClock } from '../clock.js';
import { createDraftMany } from './draft-many.js';
import { encodeDrafts } from './block-codec.js';
import { createToE164 } from './phone.js';
import type { Job, Message, ThreadData } from './threads.js';

/** Runs in a thread of its own: drafts what threads.ts hands it, one answer a job. */
const { defaultCountry } = workerData as ThreadData;
// Payloads are cut from blocks of this size; Node's own of 8 KB (64 in Node 24) would be a new one each
// 15 events. Here payloads live no longer than their request, and are copied into its answer, so that a
// large block is kept by none of them.
Buffer.poolSize = 256 * 1024;
const draftMany = createDraftMany({
  clock: systemClock,
  newId: randomUUID,
  toE164: createToE164(defaultCountry),
});

async function answer({ id, posted }: Job): Promise<void> {
  const { buffer, byteOffset, byteLength } = posted.body;
  const body = Buffer.from(buffer, byteOffset, byteLength);
  const drafted = await draftMany({ ...posted, body });
  if (!drafted.ok) {
    post({ id, drafted });
    return;
  }
  const { drafts, ...others } = drafted.collected;
  const chunks = encodeDrafts(drafts);
  post({ id, drafted: { ok: true, count: drafted.count, chunks, ...others } }, chunks);
}

function post(message: Message, chunks: readonly Uint8Array[] = []): void {
  // Each chunk has memory of its own, which changes hands.
  parentPort?.postMessage(
    message,
    chunks.map(({ buffer }) => buffer as ArrayBuffer),
  );
}

// A draft that throws is our own fault: unhandled, it ends the thread, and threads.ts tells.
parentPort?.on('message', (job: Job) => void answer(job));
post('ready');
