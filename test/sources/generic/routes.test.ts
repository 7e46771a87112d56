import { describe, expect, it } from 'vitest';
import type { AcceptFromSource } from '../../../src/ingest/accept-from-source.js';
import { parseMapping } from '../../../src/sources/mapping/mapping.js';
import { startServer } from '../../http/harness.js';
import { systems } from '../../support/generic-webhooks.js';
import { acceptedOne } from '../../support/accepted-from-source.js';

function read(generic: unknown) {
  const mapping = parseMapping({ generic });
  if (!mapping.ok) throw new Error(JSON.stringify(mapping.errors));
  return mapping.value;
}

const mapping = read(Object.fromEntries(Object.entries(systems).map(([n, s]) => [n, s.mapping])));
const secrets = Object.fromEntries(Object.entries(systems).map(([n, s]) => [n, [s.secret]]));

async function startRelay() {
  const posts: Parameters<AcceptFromSource>[0][] = [];
  const server = await startServer({
    acceptFromSource: (post) => {
      posts.push(post);
      return Promise.resolve(acceptedOne);
    },
    config: { MAPPING_FILE: mapping, GENERIC_WEBHOOK_SECRETS: secrets },
  });
  const seconds = Math.floor(server.clock.now() / 1000);
  const post = (name: string, body: string, { secret, at = seconds }: Sent) => {
    const { headers = {}, query = '' } = systems[name]?.sign(body, secret, at) ?? {};
    return server.call('POST', `/webhooks/generic/${name}${query}`, { body, headers });
  };
  return { server, posts, post, seconds };
}
type Sent = { readonly secret: string; readonly at?: number };

const names = Object.keys(systems);

describe('a webhook that the mapping file describes', () => {
  it.each(names)('is verified and mapped as its sender documents it: %s', async (name) => {
    const { post, posts } = await startRelay();
    const { payload, secret, entries } = systems[name] ?? {};
    const response = await post(name, JSON.stringify(payload), { secret: secret ?? '' });
    expect(response).toMatchObject({ status: 200, json: { accepted: 1 } });
    expect(posts[0]?.entries.map(({ entry }) => entry)).toMatchObject(entries ?? []);
    expect(posts[0]?.entries.flatMap(({ warnings = [] }) => warnings)).toEqual([]);
  });

  it.each(names)('is rejected with another secret and without one: %s', async (name) => {
    const { server, post, posts } = await startRelay();
    const body = JSON.stringify(systems[name]?.payload);
    const secret = Buffer.from('0123456789abcdef').toString('base64');
    expect((await post(name, body, { secret })).status).toBe(401);
    const bare = await server.call('POST', `/webhooks/generic/${name}`, { body });
    expect([bare.status, posts]).toEqual([401, []]);
    expect(bare.headers['www-authenticate']).toContain('Webhook');
  });

  it.each(['calendly', 'paddle', 'clerk', 'zendesk'])(
    'is rejected if its time is too old or in the future: %s',
    async (name) => {
      const { post, posts, seconds } = await startRelay();
      const { payload, secret = '' } = systems[name] ?? {};
      const body = JSON.stringify(payload);
      expect((await post(name, body, { secret, at: seconds - 301 })).status).toBe(401);
      expect((await post(name, body, { secret, at: seconds + 301 })).status).toBe(401);
      expect(posts).toEqual([]);
    },
  );

  it.each(['github', 'typeform', 'calendly', 'paddle', 'clerk', 'lemonsqueezy', 'zendesk'])(
    'is rejected if its body was changed: %s',
    async (name) => {
      const { server, seconds } = await startRelay();
      const { payload, secret = '', sign } = systems[name] ?? {};
      const { headers = {} } = sign?.(JSON.stringify(payload), secret, seconds) ?? {};
      const body = JSON.stringify({ ...(payload as object), more: 1 });
      const response = await server.call('POST', `/webhooks/generic/${name}`, { body, headers });
      expect(response.status).toBe(401);
    },
  );

  it('is counted as skipped if no rule applies to it', async () => {
    const { post, posts } = await startRelay();
    const body = JSON.stringify({ event: 'routing_form_submission.created', payload: {} });
    const response = await post('calendly', body, { secret: systems.calendly?.secret ?? '' });
    expect(response).toMatchObject({ status: 200, json: { skipped: ['unmapped'] } });
    expect(posts).toMatchObject([
      { topic: 'calendly: routing_form_submission.created', entries: [], skipped: [{}] },
    ]);
  });

  it('is answered 404 if the file has no webhook of its name, also for names that objects inherit', async () => {
    const { server } = await startRelay();
    for (const name of ['nobody', 'constructor', '__proto__', 'toString']) {
      const response = await server.call('POST', `/webhooks/generic/${name}`, { body: '{}' });
      expect(response.status, name).toBe(404);
    }
  });

  it('leaves neither its token nor its body in the log', async () => {
    const { server, post } = await startRelay();
    const { payload, secret = '' } = systems.tally ?? {};
    await post('tally', JSON.stringify(payload), { secret });
    await post('tally', 'no json ada@klaviyo-demo.com', { secret });
    const logged = JSON.stringify(server.logged);
    for (const hidden of [secret, 'ada@klaviyo-demo.com']) expect(logged).not.toContain(hidden);
  });
});
