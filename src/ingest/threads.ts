import { Worker } from 'node:worker_threads';
import type { Collected } from './collect.js';
import type { DraftedMany, DraftMany, ManyPosted } from './draft-many.js';
import type { Invalid } from './faults.js';
import { unpackDrafts } from './packed.js';

export type ThreadData = { readonly defaultCountry: string | undefined };
/** A buffer arrives as the array it is. */
export type Job = {
  readonly id: number;
  readonly posted: Omit<ManyPosted, 'body'> & { readonly body: Uint8Array };
};
export type Answer = {
  readonly id: number;
  readonly drafted:
    | Invalid
    | (Omit<Collected, 'drafts'> & {
        readonly ok: true;
        readonly count: number;
        readonly chunks: readonly Uint8Array[];
      });
};

type Waiting = {
  readonly posted: Omit<ManyPosted, 'body'>;
  readonly resolve: (drafted: DraftedMany) => void;
  readonly reject: (error: Error) => void;
};
type Thread = { readonly worker: Worker; readonly waiting: Map<number, Waiting> };

/** Below this a request is drafted sooner than it is handed over and back. */
const leastBytes = 16_384;

export type ThreadsOptions = ThreadData & {
  /** 0: all requests are drafted in the thread that asks, as small ones are anyway. */
  readonly count: number;
  /** A thread ended by itself: our own fault. Another takes its place. */
  readonly onFault: (error: unknown) => void;
  /** draft-thread, where it is not beside this file. */
  readonly entry?: URL;
};

export type Threads = {
  /** `here` drafts in the thread that asks. The body may be empty afterwards: its memory changes hands. */
  readonly draftMany: (posted: ManyPosted, here: DraftMany) => Promise<DraftedMany>;
  close(): Promise<void>;
};

/** Drafts large requests in threads beside the one that does everything else (WORKERS). */
export function startThreads(options: ThreadsOptions): Threads {
  const { count, onFault, defaultCountry } = options;
  const entry = options.entry ?? new URL('./draft-thread.js', import.meta.url);
  const threads: Thread[] = [];
  let ids = 0;
  let isClosing = false;

  const start = (place: number): void => {
    const worker = new Worker(entry, { workerData: { defaultCountry } });
    const waiting = new Map<number, Waiting>();
    worker.on('message', ({ id, drafted }: Answer) => {
      const one = waiting.get(id);
      waiting.delete(id);
      one?.resolve(toDrafted(drafted, one.posted));
    });
    const end = (error: Error): void => {
      for (const { reject } of waiting.values()) reject(error);
      waiting.clear();
      if (isClosing || threads[place]?.worker !== worker) return;
      onFault(error);
      start(place);
    };
    worker.on('error', end);
    worker.on('exit', () => end(new Error('a drafting thread ended')));
    threads[place] = { worker, waiting };
  };
  for (let place = 0; place < count; place++) start(place);

  return {
    draftMany(posted, here) {
      const [first, ...others] = threads;
      if (first === undefined || posted.body.length < leastBytes) return here(posted);
      const { worker, waiting } = others.reduce(
        (least, each) => (each.waiting.size < least.waiting.size ? each : least),
        first,
      );
      return new Promise((resolve, reject) => {
        const id = ids++;
        waiting.set(id, { posted, resolve, reject });
        worker.postMessage({ id, posted } satisfies Job, toHandOver(posted));
      });
    },
    async close() {
      isClosing = true;
      await Promise.all(threads.map(({ worker }) => worker.terminate()));
    },
  };
}

/** Memory that nobody else has a part of changes hands; any other is copied. */
function toHandOver({ body: { buffer, byteLength } }: ManyPosted): ArrayBuffer[] {
  return buffer instanceof ArrayBuffer && buffer.byteLength === byteLength ? [buffer] : [];
}

function toDrafted(drafted: Answer['drafted'], posted: Waiting['posted']): DraftedMany {
  if (!drafted.ok) return drafted;
  const { count, chunks, rejected, warnings, rejectedCount, warningCount } = drafted;
  const drafts = unpackDrafts(chunks, posted);
  return {
    ok: true,
    count,
    collected: { drafts, rejected, warnings, rejectedCount, warningCount },
  };
}
