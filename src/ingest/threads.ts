import { Worker } from 'node:worker_threads';
import type { Clock, Timer } from '../clock.js';
import type { BuiltBatch } from './batch-builder.js';
import type { DraftedMany, DraftMany, ManyPosted } from './draft-many.js';
import type { Invalid } from './validation-issues.js';
import { decodeDrafts } from './block-codec.js';

export type ThreadData = { readonly defaultCountry: string | undefined };
/** A buffer arrives as the array it is. */
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

/** A thread says that it takes jobs, then answers them. */
export type Message = 'ready' | ThreadResponse;

type Waiting = {
  readonly posted: ManyPosted;
  readonly here: DraftMany;
  readonly resolve: (drafted: DraftedMany | Promise<DraftedMany>) => void;
  readonly reject: (error: Error) => void;
};
type Thread = {
  readonly worker: Worker;
  readonly waiting: Map<number, Waiting>;
  /** Until then jobs are held here: one that does not start takes no request with it. */
  isReady: boolean;
};
/** Null: no thread is there, and none is on its way but a timer. */
type Place = { thread: Thread | null; failures: number; failedStarts: number; timer: Timer | null };

/** Below this a request is drafted sooner than it is handed over and back. */
const leastBytes = 16_384;
/** So many starts in a row that fail are the last ones of a thread. */
const maxFailedStarts = 5;
/** A start that takes longer has failed. */
const startLimitMs = 30_000;
/** After the second failure in a row; doubles with each further one. */
const restartBaseMs = 100;
const maxRestartMs = 30_000;

export type ThreadsOptions = ThreadData & {
  /** 0: all requests are drafted in the thread that asks, as small ones are anyway. */
  readonly count: number;
  readonly clock: Pick<Clock, 'setTimer'>;
  /** A thread ended by itself: our own fault, or a machine that lets no thread start. Another takes its place. */
  readonly onThreadFailure: (error: unknown) => void;
  /** No thread starts any more: all requests are drafted in the thread that asks. */
  readonly onGivenUp: () => void;
  /** draft-thread, where it is not beside this file. */
  readonly entry?: URL;
};

export type Threads = {
  /** `here` drafts in the thread that asks. The body may be empty afterwards: its memory changes hands. */
  readonly draftMany: (posted: ManyPosted, here: DraftMany) => Promise<DraftedMany>;
  close(): Promise<void>;
};

/**
 * Drafts large requests in threads beside the one that does everything else (WORKERS). A thread that
 * ends is replaced: at once, then after delays that grow until one answers a job again. A thread whose
 * starts keep failing is given up. While no thread is there requests are drafted in the thread that asks.
 */
export function startThreads(options: ThreadsOptions): Threads {
  const { count, clock, onThreadFailure: onFatal, onGivenUp, defaultCountry } = options;
  const entry = options.entry ?? new URL('./draft-thread.js', import.meta.url);
  const places = Array.from({ length: count }, (): Place => ({
    thread: null,
    failures: 0,
    failedStarts: 0,
    timer: null,
  }));
  let ids = 0;
  let isClosing = false;

  const start = (place: Place): void => {
    const worker = new Worker(entry, { workerData: { defaultCountry } });
    const thread: Thread = { worker, waiting: new Map(), isReady: false };
    const { waiting } = thread;
    place.thread = thread;
    place.timer = clock.setTimer(startLimitMs, () => void worker.terminate());
    worker.on('message', (message: Message) => {
      if (message === 'ready') {
        thread.isReady = true;
        place.failedStarts = 0;
        place.timer?.cancel();
        for (const [id, { posted }] of waiting) post(worker, id, posted);
        return;
      }
      place.failures = 0;
      const one = waiting.get(message.id);
      waiting.delete(message.id);
      one?.resolve(toDrafted(message.drafted, one.posted));
    });
    const end = (error: Error): void => {
      if (place.thread !== thread) return;
      place.thread = null;
      place.timer?.cancel();
      for (const { posted, here, resolve, reject } of waiting.values()) {
        if (thread.isReady || isClosing) reject(error);
        else resolve(here(posted));
      }
      waiting.clear();
      if (isClosing) return;
      place.failures++;
      if (!thread.isReady) place.failedStarts++;
      onFatal(error);
      restart(place);
    };
    worker.on('error', end);
    worker.on('exit', () => end(new Error('a drafting thread ended')));
  };
  const restart = (place: Place): void => {
    const isGivenUp = ({ failedStarts }: Place): boolean => failedStarts >= maxFailedStarts;
    if (isGivenUp(place)) {
      if (places.every(isGivenUp)) onGivenUp();
    } else if (place.failures === 1) start(place);
    else {
      const delayMs = Math.min(restartBaseMs * 2 ** (place.failures - 2), maxRestartMs);
      place.timer = clock.setTimer(delayMs, () => start(place));
    }
  };
  for (const place of places) start(place);

  return {
    draftMany(posted, here) {
      if (posted.body.length < leastBytes) return here(posted);
      const [first, ...others] = places.flatMap(({ thread }) => thread ?? []);
      if (first === undefined) return here(posted);
      const { worker, waiting, isReady } = others.reduce(
        (least, each) => (each.waiting.size < least.waiting.size ? each : least),
        first,
      );
      return new Promise((resolve, reject) => {
        const id = ids++;
        waiting.set(id, { posted, here, resolve, reject });
        if (isReady) post(worker, id, posted);
      });
    },
    async close() {
      isClosing = true;
      for (const { timer } of places) timer?.cancel();
      const running = places.flatMap(({ thread }) => thread ?? []);
      await Promise.all(running.map(({ worker }) => worker.terminate()));
    },
  };
}

function post(worker: Worker, id: number, posted: ManyPosted): void {
  worker.postMessage({ id, posted } satisfies Job, toHandOver(posted));
}

/** Memory that nobody else has a part of changes hands; any other is copied. */
function toHandOver({ body: { buffer, byteLength } }: ManyPosted): ArrayBuffer[] {
  return buffer instanceof ArrayBuffer && buffer.byteLength === byteLength ? [buffer] : [];
}

function toDrafted(drafted: ThreadResponse['drafted'], posted: Waiting['posted']): DraftedMany {
  if (!drafted.ok) return drafted;
  const { count, chunks, rejected, warnings, rejectedCount, warningCount } = drafted;
  const drafts = decodeDrafts(chunks, posted);
  return {
    ok: true,
    count,
    collected: { drafts, rejected, warnings, rejectedCount, warningCount },
  };
}
