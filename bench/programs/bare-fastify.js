// Bare Fastify: one route that parses the body and answers 202.
import Fastify from 'fastify';

const app = Fastify();
let taken = 0;
app.post('/v1/events', (_request, reply) => {
  taken++;
  return reply.code(202).send({ id: `event-${taken}`, duplicate: false });
});
console.log(JSON.stringify({ url: await app.listen({ port: 0, host: '127.0.0.1' }) }));
