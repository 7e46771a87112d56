// The floor: parses what is posted, and forwards it 1,000 (or PER_REQUEST) a request. No validation, no store.
import { createServer } from 'node:http';
import { Agent, request as send } from 'undici';
import { listen, readText } from './listen.js';

const perRequest = Number(process.env.PER_REQUEST ?? 1000);
const sink = new Agent({ connections: 8 });
/** @type {unknown[]} */
let held = [];

/** @param {readonly unknown[]} data */
async function forward(data) {
  const { body } = await send(`${process.env.SINK_URL}/forwarded`, {
    method: 'POST',
    dispatcher: sink,
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ data }),
  });
  await body.dump();
}

/**
 * @param {string} text
 * @param {boolean} isNdjson
 * @returns {unknown[]}
 */
function parse(text, isNdjson) {
  if (!isNdjson) {
    const entries = /** @type {unknown} */ (JSON.parse(text));
    return Array.isArray(entries) ? entries : [];
  }
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => /** @type {unknown} */ (JSON.parse(line)));
}

/** What is left goes once nothing has come for a while. */
let idle = setTimeout(() => undefined, 0);
function forwardRest() {
  if (held.length > 0) void forward(held);
  held = [];
}

const server = createServer((request, response) => {
  readText(request, (text) => {
    const entries = parse(text, request.headers['content-type'] === 'application/x-ndjson');
    held.push(...entries);
    while (held.length >= perRequest) void forward(held.splice(0, perRequest));
    clearTimeout(idle);
    idle = setTimeout(forwardRest, 200);
    response.writeHead(202, { 'content-type': 'application/json' });
    response.end(JSON.stringify({ accepted: entries.length }));
  });
});
listen(server);
