import type { Writable } from 'node:stream';

let failure: Error | null = null;

/**
 * Without a listener a reader that has gone (`klaviyo-relay demo | head -1`) ends the process with a
 * stack trace. What a command prints is not its work: the command goes on.
 */
export function catchOutputErrors(): void {
  process.stdout.on('error', (error: Error) => {
    failure ??= error;
  });
  process.stderr.on('error', () => undefined);
}

/** Resolves once the text is written, rejects where it cannot be: a large export waits for its reader. */
export function print(text: string): Promise<void> {
  return new Promise((resolve, reject) => {
    process.stdout.write(text, (error) => (error ? reject(error) : resolve()));
  });
}

/** True where nobody reads what is printed any more. */
export function isClosedPipe(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'EPIPE';
}

/** Ends the process once everything printed is written, whatever else is still open. */
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
