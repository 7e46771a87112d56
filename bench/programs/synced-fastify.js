// Bare Fastify with a synced write: it answers once the body is synced to a log. No keys, no validation,
// no mapping, no index. The difference to bare Fastify is the cost of the disk.
import Fastify from 'fastify';
import { append } from './synced-log.js';

let taken = 0;
const app = Fastify();
app.post('/v1/events', async (request, reply) => {
  await append([Buffer.from(JSON.stringify(request.body))]);
  taken++;
  return reply.code(202).send({ id: `event-${taken}`, duplicate: false });
});
console.log(JSON.stringify({ url: await app.listen({ port: 0, host: '127.0.0.1' }) }));
