// Bare node:http: parses the body and answers 202.
import { createServer } from 'node:http';
import { listen, readText } from './listen.js';

let taken = 0;
const server = createServer((request, response) => {
  readText(request, (text) => {
    JSON.parse(text);
    const body = JSON.stringify({ id: `event-${++taken}`, duplicate: false });
    response.writeHead(202, {
      'content-type': 'application/json; charset=utf-8',
      'content-length': Buffer.byteLength(body),
    });
    response.end(body);
  });
});
listen(server);
