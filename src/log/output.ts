import { closeSync, constants, openSync, write } from 'node:fs';
import { isatty } from 'node:tty';
import type { Writable } from 'node:stream';
import { wait, type Clock } from '../clock.js';

/**
 * Writes lines to stdout or stderr and never blocks the process. A pipe can be closed, or full because
 * its reader is slow; a file can be on a volume that is full or hangs. Meanwhile lines wait in a queue
 * with a bound in bytes. Lines that do not fit, and lines whose write fails, are dropped and counted.
 */
export type Output = {
  write(line: string): void;
  /** Resolves with true once everything is written or dropped, with false after `limitMs`. */
  flush(limitMs: number): Promise<boolean>;
  /** Lines dropped so far. */
  dropped(): number;
  /** When a line can be written again, the listener is called with the number of lines that were dropped. */
  onResumed(listener: (dropped: number) => void): void;
  /** True while a thread of libuv's pool is inside write(2). An exit of the process waits for it. */
  holdsThread(): boolean;
};

/** Writes one text at a time: the next call comes after `done`. */
type Sink = {
  write(text: string, done: (error: Error | null) => void): void;
  holdsThread(): boolean;
};

export type OutputOptions = {
  readonly fd: number;
  /** The stream that Node.js created for it: process.stdout or process.stderr. */
  readonly stream: Writable;
  readonly clock: Clock;
  readonly maxQueuedBytes?: number;
};

const defaultQueuedBytes = 1024 * 1024;
const retryMs = 50;

export function openOutput(options: OutputOptions): Output {
  const { clock, maxQueuedBytes = defaultQueuedBytes } = options;
  const sink = openSink(options);
  const idleListeners = new Set<() => void>();
  let onResumed: (dropped: number) => void = () => undefined;
  let queue: string[] = [];
  let queuedBytes = 0;
  let isWriting = false;
  let dropped = 0;
  let unreported = 0;

  const drop = (lines: number): void => {
    dropped += lines;
    unreported += lines;
  };
  const writeQueue = (): void => {
    const { length } = queue;
    const text = queue.join('');
    queue = [];
    queuedBytes = 0;
    isWriting = true;
    sink.write(text, (error) => {
      isWriting = false;
      if (error !== null) drop(length);
      finish(error === null);
    });
  };
  const finish = (isWritten: boolean): void => {
    // Before the report: it needs room in the queue for its own line.
    if (queue.length > 0) writeQueue();
    if (isWritten) reportDropped();
    if (!isWriting) for (const listener of [...idleListeners]) listener();
  };
  const reportDropped = (): void => {
    const count = unreported;
    unreported = 0;
    if (count > 0) onResumed(count);
  };

  return {
    write(line) {
      const bytes = Buffer.byteLength(line);
      if (queuedBytes + bytes > maxQueuedBytes) {
        drop(1);
        return;
      }
      queue.push(line);
      queuedBytes += bytes;
      if (!isWriting) writeQueue();
    },
    async flush(limitMs) {
      const isIdle = (): boolean => !isWriting && queue.length === 0;
      if (isIdle()) return true;
      const idle = new AbortController();
      const listener = (): void => idle.abort();
      idleListeners.add(listener);
      await wait(clock, limitMs, idle.signal);
      idleListeners.delete(listener);
      return isIdle();
    },
    dropped: () => dropped,
    onResumed: (listener) => (onResumed = listener),
    holdsThread: () => sink.holdsThread(),
  };
}

/**
 * The streams of Node.js for pipes and sockets do not block. Those for files and terminals do, so a
 * thread of libuv's pool writes to these.
 */
function openSink({ fd, stream, clock }: OutputOptions): Sink {
  if ('connecting' in stream && !isatty(fd)) return toStreamSink(stream);
  return createFileSink(isatty(fd) ? openTerminal(fd) : fd, clock);
}

function toStreamSink(stream: Writable): Sink {
  // Each write reports its own failure. Without a listener the stream would throw the error as well.
  stream.on('error', () => undefined);
  return {
    write: (text, done) => void stream.write(text, (error) => done(error ?? null)),
    holdsThread: () => false,
  };
}

/** A stopped terminal (Ctrl-S) blocks writes. It does not if this process opens it again in non-blocking mode. */
function openTerminal(fd: number): number {
  let own: number | null = null;
  try {
    const { O_WRONLY, O_NONBLOCK, O_NOCTTY } = constants;
    own = openSync(`/proc/self/fd/${fd}`, O_WRONLY | O_NONBLOCK | O_NOCTTY);
    if (isatty(own)) return own;
  } catch {
    // Not Linux, or the terminal belongs to another user.
  }
  if (own !== null) closeSync(own);
  return fd;
}

function createFileSink(fd: number, clock: Clock): Sink {
  let isInThread = false;
  // True after a write that failed halfway: the next line starts on a new line.
  let isTorn = false;
  const writeFrom = (bytes: Buffer, from: number, done: (error: Error | null) => void): void => {
    isInThread = true;
    write(fd, bytes, from, bytes.length - from, null, (error, written) => {
      isInThread = false;
      if (error === null && from + written < bytes.length) writeFrom(bytes, from + written, done);
      else if (error?.code === 'EAGAIN') {
        clock.setTimer(retryMs, () => writeFrom(bytes, from, done));
      } else {
        isTorn = error === null ? false : isTorn || from > 0;
        done(error);
      }
    });
  };
  return {
    write: (text, done) => writeFrom(Buffer.from(isTorn ? `\n${text}` : text), 0, done),
    holdsThread: () => isInThread,
  };
}
