import { Worker } from 'node:worker_threads';
import type { Clock, Timer } from '../clock.js';
import type { BuiltBatch, DraftedMany, DraftMany, ManyPosted } from './draft-many.js';
import type { Invalid } from './validation.js';
import { decodeDrafts } from './block-codec.js';

export type ThreadData = { readonly defaultCountry: string | undefined };
/** The body arrives as a plain Uint8Array: structured cloning drops the Buffer class. */
export type Job = {
  readonly id: number;
  readonly posted: Omit<ManyPosted, 'body'> & { readonly body: Uint8Array };
};
export type ThreadResponse = {
  readonly id: number;
  readonly drafted:
    | Invalid
    | (Omit<BuiltBatch, 'drafts'> & {
        readonly ok: true;
        readonly count: number;
        readonly chunks: readonly Uint8Array[];
      });
};

/** A thread sends `ready` once, then one response for each job. */
export type Message = 'ready' | ThreadResponse;

type PendingJob = {
  readonly posted: ManyPosted;
  readonly draftHere: DraftMany;
  readonly resolve: (drafted: DraftedMany | Promise<DraftedMany>) => void;
  readonly reject: (error: Error) => void;
};
type Thread = {
  readonly worker: Worker;
  readonly pending: Map<number, PendingJob>;
  /** False: jobs stay in `pending` and are not posted yet, so that a failed start fails no request. */
  isReady: boolean;
};
/** One of the `count` threads. `thread` is null between the end of a thread and the start of the next. */
type ThreadSlot = {
  thread: Thread | null;
  failures: number;
  failedStarts: number;
  timer: Timer | null;
};

/** Smaller requests are drafted in the main thread: the transfer to a thread and back would take longer. */
const minThreadBytes = 16_384;
/** After this many failed starts in a row, a slot starts no more threads. */
const maxFailedStarts = 5;
/** A start that takes longer has failed. */
const threadStartLimitMs = 30_000;
/** Delay before a restart after the second failure in a row. It doubles with each further failure. */
const restartBaseMs = 100;
const maxRestartMs = 30_000;

export type ThreadsOptions = ThreadData & {
  /** 0: all requests are drafted in the main thread, like small ones. */
  readonly count: number;
  readonly clock: Pick<Clock, 'setTimer'>;
  /** Called when a thread ends unexpectedly: drafting threw, or the thread could not start. Another thread takes its slot. */
  readonly onThreadFailure: (error: unknown) => void;
  /** Called when no thread will start any more: the main thread drafts all requests. */
  readonly onGivenUp: () => void;
  /** The file that runs in a thread. Absent: draft-thread.js beside this file. */
  readonly entry?: URL;
};

export type Threads = {
  /** Drafts in a thread, or with `draftHere` in the main thread. The body may be empty afterwards: its memory is transferred. */
  readonly draftMany: (posted: ManyPosted, draftHere: DraftMany) => Promise<DraftedMany>;
  close(): Promise<void>;
};

/**
 * Drafts large requests in worker threads (WORKERS), so that the main thread stays free. A thread that
 * ends is replaced: at once after the first failure, then after delays that grow until a thread answers a
 * job again. A slot whose starts keep failing is given up. While no thread runs, the main thread drafts.
 */
export function startThreads(options: ThreadsOptions): Threads {
  const { count, clock, onThreadFailure, onGivenUp, defaultCountry } = options;
  const entry = options.entry ?? new URL('./draft-thread.js', import.meta.url);
  const slots = Array.from({ length: count }, (): ThreadSlot => ({
    thread: null,
    failures: 0,
    failedStarts: 0,
    timer: null,
  }));
  let ids = 0;
  let isClosing = false;

  const start = (slot: ThreadSlot): void => {
    const worker = new Worker(entry, { workerData: { defaultCountry } });
    const thread: Thread = { worker, pending: new Map(), isReady: false };
    const { pending } = thread;
    slot.thread = thread;
    slot.timer = clock.setTimer(threadStartLimitMs, () => void worker.terminate());
    worker.on('message', (message: Message) => {
      if (message === 'ready') {
        thread.isReady = true;
        slot.failedStarts = 0;
        slot.timer?.cancel();
        for (const [id, { posted }] of pending) postJob(worker, id, posted);
        return;
      }
      slot.failures = 0;
      const job = pending.get(message.id);
      pending.delete(message.id);
      job?.resolve(decodeDrafted(message.drafted, job.posted));
    });
    const end = (error: Error): void => {
      if (slot.thread !== thread) return;
      slot.thread = null;
      slot.timer?.cancel();
      for (const { posted, draftHere, resolve, reject } of pending.values()) {
        if (thread.isReady || isClosing) reject(error);
        else resolve(draftHere(posted));
      }
      pending.clear();
      if (isClosing) return;
      slot.failures++;
      if (!thread.isReady) slot.failedStarts++;
      onThreadFailure(error);
      restart(slot);
    };
    worker.on('error', end);
    worker.on('exit', () => end(new Error('a drafting thread ended')));
  };
  const restart = (slot: ThreadSlot): void => {
    const isGivenUp = ({ failedStarts }: ThreadSlot): boolean => failedStarts >= maxFailedStarts;
    if (isGivenUp(slot)) {
      if (slots.every(isGivenUp)) onGivenUp();
    } else if (slot.failures === 1) start(slot);
    else {
      const delayMs = Math.min(restartBaseMs * 2 ** (slot.failures - 2), maxRestartMs);
      slot.timer = clock.setTimer(delayMs, () => start(slot));
    }
  };
  for (const slot of slots) start(slot);

  return {
    draftMany(posted, draftHere) {
      if (posted.body.length < minThreadBytes) return draftHere(posted);
      const [first, ...others] = slots.flatMap(({ thread }) => thread ?? []);
      if (first === undefined) return draftHere(posted);
      const { worker, pending, isReady } = others.reduce(
        (least, each) => (each.pending.size < least.pending.size ? each : least),
        first,
      );
      return new Promise((resolve, reject) => {
        const id = ids++;
        pending.set(id, { posted, draftHere, resolve, reject });
        if (isReady) postJob(worker, id, posted);
      });
    },
    async close() {
      isClosing = true;
      for (const { timer } of slots) timer?.cancel();
      const running = slots.flatMap(({ thread }) => thread ?? []);
      await Promise.all(running.map(({ worker }) => worker.terminate()));
    },
  };
}

function postJob(worker: Worker, id: number, posted: ManyPosted): void {
  worker.postMessage({ id, posted } satisfies Job, listTransferable(posted));
}

/** The body's memory, if the body is all of it; otherwise it is shared with other data and must be copied. */
function listTransferable({ body: { buffer, byteLength } }: ManyPosted): ArrayBuffer[] {
  return buffer instanceof ArrayBuffer && buffer.byteLength === byteLength ? [buffer] : [];
}

function decodeDrafted(
  drafted: ThreadResponse['drafted'],
  posted: PendingJob['posted'],
): DraftedMany {
  if (!drafted.ok) return drafted;
  const { count, chunks, rejected, warnings, rejectedCount, warningCount } = drafted;
  const drafts = decodeDrafts(chunks, posted);
  return {
    ok: true,
    count,
    built: { drafts, rejected, warnings, rejectedCount, warningCount },
  };
}
