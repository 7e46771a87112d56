/** How a source begins, and all of it: the chunks that were read to find out come again. */
export type Peeked = {
  readonly head: Buffer;
  readonly chunks: AsyncGenerator<Buffer, void>;
  /** Closes the source; needed where `chunks` are never iterated. */
  readonly close: () => Promise<void>;
};

/** Reads until `isEnough` says so, or the source ends. */
export async function peek(
  source: AsyncIterable<Buffer>,
  isEnough: (head: Buffer) => boolean,
): Promise<Peeked> {
  const iterator = source[Symbol.asyncIterator]();
  let head: Buffer = Buffer.alloc(0);
  while (!isEnough(head)) {
    const next = await iterator.next();
    if (next.done === true) break;
    head = head.length === 0 ? next.value : Buffer.concat([head, next.value]);
  }
  const close = async (): Promise<void> => {
    await iterator.return?.();
  };
  return { head, chunks: chunksOf(head, iterator), close };
}

async function* chunksOf(
  head: Buffer,
  iterator: AsyncIterator<Buffer>,
): AsyncGenerator<Buffer, void> {
  try {
    if (head.length > 0) yield head;
    for (let next = await iterator.next(); next.done !== true; next = await iterator.next()) {
      yield next.value;
    }
  } finally {
    await iterator.return?.();
  }
}
