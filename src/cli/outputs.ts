import type { Writable } from 'node:stream';

let failure: Error | null = null;

/**
 * Without a listener, a reader that has closed the pipe (`klaviyo-relay demo | head -1`) would end
 * the process with a stack trace. The command continues, because its output is not its work.
 */
export function catchOutputErrors(): void {
  process.stdout.on('error', (error: Error) => {
    failure ??= error;
  });
  process.stderr.on('error', () => undefined);
}

/**
 * Resolves when the text is written and rejects if it cannot be. A large export waits for its
 * reader.
 */
export function print(text: string): Promise<void> {
  return new Promise((resolve, reject) => {
    process.stdout.write(text, (error) => (error ? reject(error) : resolve()));
  });
}

/** Returns true if the reader has closed the pipe. */
export function isClosedPipe(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'EPIPE';
}

/** Ends the process when all output is written, whatever else is still open. */
export async function endWith(code: number): Promise<never> {
  await untilWritten(process.stdout);
  const isLost = failure !== null && !isClosedPipe(failure);
  if (isLost)
    process.stderr.write(`klaviyo-relay: stdout cannot be written: ${failure?.message}\n`);
  await untilWritten(process.stderr);
  process.exit(isLost && code === 0 ? 1 : code);
}

function untilWritten(stream: Writable): Promise<void> {
  if (stream.writableLength === 0) return Promise.resolve();
  return new Promise((resolve) => {
    stream.write('', () => resolve());
  });
}
