// A log that only syncs: one sync per group, as in the relay, without an index and without reads.
import { constants, mkdirSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';

const directory = process.env.DATA_DIR ?? '.';
mkdirSync(directory, { recursive: true });
// O_DSYNC: a write has returned when it is on disk, in one system call.
const flags = constants.O_CREAT | constants.O_WRONLY | constants.O_DSYNC;
const log = await open(join(directory, 'log'), flags);
// Preallocated, so that a sync does not write the file length.
const room = Buffer.alloc(64 * 1024 * 1024);
await log.write(room, 0, room.length, 0);

let at = 0;
/** @type {{ parts: readonly Uint8Array[]; done: () => void }[]} */
let waiting = [];
let isWriting = false;

async function write() {
  isWriting = true;
  await setImmediate();
  while (waiting.length > 0) {
    const group = waiting;
    waiting = [];
    const bytes = Buffer.concat(group.flatMap((each) => each.parts));
    if (at + bytes.length > room.length) at = 0;
    await log.write(bytes, 0, bytes.length, at);
    at += bytes.length;
    for (const { done } of group) done();
  }
  isWriting = false;
}

/** Resolves once the parts are on disk. @param {readonly Uint8Array[]} parts @returns {Promise<void>} */
export function append(parts) {
  return new Promise((done) => {
    waiting.push({ parts, done });
    if (!isWriting) void write();
  });
}
