// The baseline: parses posted entries and forwards them, 1,000 (or PER_REQUEST) per request. No validation, no store.
import { createServer } from 'node:http';
import { createForward } from './forward.js';
import { listen, readText } from './listen.js';

/** @type {(data: readonly unknown[]) => void} */
const forward = createForward((data) => JSON.stringify({ data }));

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

const server = createServer((request, response) => {
  readText(request, (text) => {
    const entries = parse(text, request.headers['content-type'] === 'application/x-ndjson');
    forward(entries);
    response.writeHead(202, { 'content-type': 'application/json' });
    response.end(JSON.stringify({ accepted: entries.length }));
  });
});
listen(server);
