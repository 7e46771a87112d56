import { closeSync, ftruncateSync, openSync, readFileSync, writeSync } from 'node:fs';
import { createRequire } from 'node:module';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { z } from 'zod';
import { DirectoryError } from './format.js';

/** The package ships no types; this is what is used of it. False where somebody else holds the lock. */
const native = createRequire(import.meta.url)('fs-native-extensions') as {
  tryLock(fd: number): boolean;
};

export const lockFileName = 'relay.lock';

export type DirectoryLock = { release(): void };

const holderSchema = z.object({ pid: z.int(), host: z.string(), since: z.string() });

/**
 * Holds the directory until `release`, or until the process ends, however it ends: the kernel drops
 * the lock (an open file description lock) with it, so that no stale lock is ever in the way.
 * Throws DirectoryError that says who holds it.
 */
export function lockDirectory(directory: string, now: number): DirectoryLock {
  const path = join(directory, lockFileName);
  const fd = openLockFile(directory, path);
  if (!native.tryLock(fd)) {
    closeSync(fd);
    throw new DirectoryError(
      directory,
      `is held by ${describeHolder(path)}: one process at a time`,
    );
  }
  const holder = { pid: process.pid, host: hostname(), since: new Date(now).toISOString() };
  writeHolder(fd, `${JSON.stringify(holder)}\n`);
  let isHeld = true;
  return {
    release() {
      if (isHeld) closeSync(fd);
      isHeld = false;
    },
  };
}

/** For whoever comes second. The lock holds without it, so a volume that is full does not stop a start. */
function writeHolder(fd: number, text: string): void {
  try {
    ftruncateSync(fd);
    writeSync(fd, text, 0);
  } catch {
    // The second one is told of "another process" then.
  }
}

function openLockFile(directory: string, path: string): number {
  try {
    // Read and write, made where it is missing, never truncated before it is ours.
    return openSync(path, 'a+', 0o600);
  } catch (error) {
    throw new DirectoryError(
      directory,
      `cannot be used: ${error instanceof Error ? error.message : ''}`,
    );
  }
}

function describeHolder(path: string): string {
  const parsed = holderSchema.safeParse(readJson(path));
  if (!parsed.success) return 'another process';
  const { pid, host, since } = parsed.data;
  return `process ${pid} on ${host} since ${since}`;
}

function readJson(path: string): unknown {
  try {
    return JSON.parse(readFileSync(path, 'utf8'));
  } catch {
    return null;
  }
}
