// A server in place of Klaviyo: accepts everything and counts records that contain MARK. GET /count returns the counts.
import { createServer } from 'node:http';
import { listen } from './listen.js';

const mark = Buffer.from(process.env.MARK ?? '"unique_id":"');
let [records, requests, bytes, lastAt] = [0, 0, 0, 0];

/** @param {Buffer} body */
function count(body) {
  for (let at = body.indexOf(mark); at !== -1; at = body.indexOf(mark, at + mark.length)) records++;
  bytes += body.length;
  requests++;
  lastAt = Date.now();
}

const job = { type: 'profile-bulk-import-job', id: 'job' };
const ended = { status: 'complete', total_count: 1, completed_count: 1, failed_count: 0 };

const server = createServer((request, response) => {
  /** @type {Buffer[]} */
  const parts = [];
  request.on('data', (/** @type {Buffer} */ part) => parts.push(part));
  request.on('end', () => {
    response.setHeader('content-type', 'application/json');
    if (request.url === '/count') {
      response.end(JSON.stringify({ records, requests, bytes, lastAt }));
    } else if (request.method === 'GET') {
      response.end(JSON.stringify({ data: { ...job, attributes: ended } }));
    } else {
      count(Buffer.concat(parts));
      response.writeHead(202);
      response.end(JSON.stringify({ data: job }));
    }
  });
});
listen(server);
