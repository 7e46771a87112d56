import { afterEach, expect, it } from 'vitest';
import { startRelay, type RelayUnderTest } from '../support/relay.js';

let relay: RelayUnderTest;
afterEach(() => relay.stop());

async function post(body: object): Promise<string> {
  const response = await relay.post('/v1/profiles', { email: 'ada@klaviyo-demo.com', ...body });
  expect(response.status).toBe(202);
  await relay.untilSettled();
  return String(response.body.id);
}

const countImports = (): number =>
  relay.sandbox
    .state()
    .requests.filter(({ method, path }) => method === 'POST' && path.includes('import')).length;

it.each(['memory', 'journal'])(
  'with PROFILE_UNCHANGED_TTL and STORE=%s, a repeat is delivered without a request, and its receipt leads to the reason',
  async (STORE) => {
    relay = await startRelay({ env: { PROFILE_UNCHANGED_TTL: '1d', STORE } });
    await post({ first_name: 'Ada' });
    const id = await post({ first_name: 'Ada' });
    expect(countImports()).toBe(1);
    const { body: receipt } = await relay.get(`/v1/receipts/${id}`);
    expect(receipt).toMatchObject({ state: 'delivered' });
    const { body: delivery } = await relay.get(`/v1/deliveries/${String(receipt.delivery_id)}`);
    expect(delivery).toMatchObject({ result: 'unchanged', status: null, import_job: null });
    await post({ first_name: 'Eda' });
    await post({ first_name: 'Ada' });
    expect(countImports()).toBe(3);
    expect(relay.sandbox.state().profiles[0]?.attributes.first_name).toBe('Ada');
    expect((await relay.counts()).profiles).toMatchObject({ accepted: 4, delivered: 4 });
  },
);
