/** A position: after this many lines and bytes. */
export type Place = { readonly line: number; readonly offset: number };

export const start: Place = { line: 0, offset: 0 };

/** One line of a file, including its line end. */
export type Line = {
  /** From 1. */
  readonly number: number;
  /** Offset of the byte after the line. */
  readonly end: number;
  readonly bytes: Buffer;
  /** True if the line is longer than the bound. `bytes` holds its beginning. */
  readonly isCut: boolean;
};

export type LineReader = {
  /** Returns the lines that end within this chunk. */
  push(chunk: Buffer): readonly Line[];
  /** Returns the last line if it has no line end. */
  end(): readonly Line[];
};

const lineEnd = 10;

/**
 * Splits chunks, which may end anywhere, into lines. Holds at most one line and at most `maxBytes`
 * of it.
 */
export function createLineReader({ line, offset }: Place, maxBytes: number): LineReader {
  let number = line;
  let end = offset;
  let held: Buffer[] = [];
  let heldBytes = 0;
  let length = 0;

  const hold = (part: Buffer): void => {
    length += part.length;
    const kept = part.subarray(0, maxBytes - heldBytes);
    heldBytes += kept.length;
    if (kept.length > 0) held.push(kept);
  };

  const finish = (): Line => {
    const [only] = held;
    const bytes = held.length === 1 && only !== undefined ? only : Buffer.concat(held);
    number++;
    end += length;
    const finished = { number, end, bytes, isCut: length > heldBytes };
    held = [];
    heldBytes = 0;
    length = 0;
    return finished;
  };

  return {
    push(chunk) {
      const lines: Line[] = [];
      let from = 0;
      for (let at = chunk.indexOf(lineEnd); at !== -1; at = chunk.indexOf(lineEnd, from)) {
        hold(chunk.subarray(from, at + 1));
        lines.push(finish());
        from = at + 1;
      }
      hold(chunk.subarray(from));
      return lines;
    },
    end: () => (length === 0 ? [] : [finish()]),
  };
}
