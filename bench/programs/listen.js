/**
 * Listens on a free loopback port and prints the URL as a JSON line on stdout.
 * @param {import('node:http').Server} server
 */
export function listen(server) {
  server.listen(0, '127.0.0.1', () => {
    const address = server.address();
    const port = typeof address === 'object' && address !== null ? address.port : 0;
    console.log(JSON.stringify({ url: `http://127.0.0.1:${port}` }));
  });
}

/**
 * Calls `then` with the whole body as text.
 * @param {import('node:http').IncomingMessage} request
 * @param {(text: string) => void} then
 */
export function readText(request, then) {
  let text = '';
  request.setEncoding('utf8');
  request.on('data', (/** @type {string} */ part) => (text += part));
  request.on('end', () => {
    then(text);
  });
}
