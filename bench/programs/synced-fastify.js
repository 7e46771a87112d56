// The same Fastify with the one promise that matters: it answers once the body is synced to a log that
// does nothing else. A group a sync, as the relay has it; no keys, no validation, no mapping, no index.
// What is between this and the bare one is what a disk costs, whoever writes to it.
import { open } from 'node:fs/promises';
import { constants, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import Fastify from 'fastify';

const directory = process.env.DATA_DIR ?? '.';
mkdirSync(directory, { recursive: true });
// O_DSYNC: a write has returned when it is on disk, in one system call.
const flags = constants.O_CREAT | constants.O_WRONLY | constants.O_DSYNC;
const log = await open(join(directory, 'log'), flags);
// Written ahead, so that a sync has no length of a file to write down.
const room = Buffer.alloc(64 * 1024 * 1024);
await log.write(room, 0, room.length, 0);

let at = 0;
let taken = 0;
/** @type {{ bytes: Buffer; done: () => void }[]} */
let waiting = [];
let isWriting = false;

async function write() {
  isWriting = true;
  await setImmediate();
  while (waiting.length > 0) {
    const group = waiting;
    waiting = [];
    const bytes = Buffer.concat(group.map((each) => each.bytes));
    if (at + bytes.length > room.length) at = 0;
    await log.write(bytes, 0, bytes.length, at);
    at += bytes.length;
    for (const { done } of group) done();
  }
  isWriting = false;
}

/** @param {unknown} body @returns {Promise<void>} */
function append(body) {
  return new Promise((done) => {
    waiting.push({ bytes: Buffer.from(JSON.stringify(body)), done });
    if (!isWriting) void write();
  });
}

const app = Fastify();
app.post('/v1/events', async (request, reply) => {
  await append(request.body);
  taken++;
  return reply.code(202).send({ id: `event-${taken}`, duplicate: false });
});
console.log(JSON.stringify({ url: await app.listen({ port: 0, host: '127.0.0.1' }) }));
