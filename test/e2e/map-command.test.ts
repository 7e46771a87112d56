import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Tried } from '../../src/cli/trial.js';
import { runCommand } from '../support/relay-process.js';
import { anOrder, aRefund } from '../support/shopify.js';
import { aCharge, aStripeEvent } from '../support/stripe-payloads.js';

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'relay-map-command-'));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

const write = (name: string, ...documents: unknown[]): string => {
  const file = join(directory, name);
  writeFileSync(file, documents.map((each) => JSON.stringify(each)).join('\n'));
  return file;
};

/** The result of `--json` for each request. */
const tryAll = async (args: readonly string[], env = {}) => {
  const { code, output } = await runCommand(['map', ...args, '--json'], env, directory);
  const tried = output
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line) as Tried);
  return { code, tried, output };
};

const ada = { email: 'ada@klaviyo-demo.com' };

describe('klaviyo-relay map', () => {
  it("prints Klaviyo's JSON for a webhook whose body identifies the source, and the facts that are kept", async () => {
    const file = write('charge.json', aStripeEvent('charge.succeeded', aCharge()));
    const { code, output } = await runCommand(['map', file], {}, directory);
    expect(output).toContain('stripe charge.succeeded\n');
    expect(output).toContain('event "Successfully Paid": would be sent to Klaviyo');
    expect(output).toContain('"unique_id": "pi_1"');
    expect(output).toContain('kept: payment payment:pi_1 {"email":"ada@klaviyo-demo.com"}');
    expect(output).toContain('kept: delivery evt_charge.succeeded\n');
    expect(code).toBe(0);
  });

  it('applies facts of earlier requests in one file to later ones, such as the buyer of an order', async () => {
    const refund = { topic: 'refunds/create', body: aRefund() };
    const order = { topic: 'orders/create', body: anOrder() };
    const both = await tryAll([write('both.ndjson', order, refund), '--source', 'shopify']);
    expect(both.tried.map(({ topic }) => topic)).toEqual(['orders/create', 'refunds/create']);
    expect(both.tried[1]?.entries).toMatchObject([
      { outcome: 'sent', entry: { event_name: 'Refunded Order' } },
    ]);
    const alone = await tryAll([write('refund.ndjson', refund), '--source', 'shopify']);
    expect(alone.tried[0]?.entries).toMatchObject([{ outcome: 'waiting', klaviyo: null }]);
    expect(alone.tried[0]?.entries[0]?.personKeys.length).toBeGreaterThan(0);
    expect([both.code, alone.code]).toEqual([0, 0]);
  });

  it('takes the topic and headers of a webhook from the command line', async () => {
    const file = write('order.json', anOrder());
    for (const args of [
      ['--source', 'shopify', '--topic', 'orders/create'],
      ['--header', 'X-Shopify-Topic=orders/create'],
      ['--path', '/webhooks/shopify', '--topic', 'orders/create'],
    ]) {
      const { code, tried } = await tryAll([file, ...args]);
      expect(tried[0]).toMatchObject({ source: 'shopify', topic: 'orders/create' });
      expect(code).toBe(0);
    }
  });

  it('applies the mapping file and the settings of the environment', async () => {
    const mapping = write('mapping.json', {
      stripe: { metrics: { 'Successfully Paid': 'Placed Order' } },
    });
    const file = write('charge.json', aStripeEvent('charge.succeeded', aCharge()));
    const renamed = await tryAll([file], { MAPPING_FILE: mapping });
    expect(renamed.tried[0]?.entries).toMatchObject([{ entry: { event_name: 'Placed Order' } }]);
    const other = await tryAll([file], { STRIPE_REVENUE_SOURCE: 'invoice' });
    expect(other.tried[0]).toMatchObject({
      entries: [],
      skipped: [{ reason: 'other_revenue_source' }],
    });
  });

  it('reads calls of an SDK, single and in a batch', async () => {
    const call = { type: 'identify', userId: '42', messageId: 'm-1', traits: ada };
    const file = write('calls.ndjson', call, { batch: [{ ...call, messageId: 'm-2' }] });
    const { code, tried } = await tryAll([file]);
    expect(tried.map(({ source, entries }) => [source, entries[0]?.lane])).toEqual([
      ['segment', 'profiles'],
      ['segment', 'profiles'],
    ]);
    expect(code).toBe(0);
  });

  it('reports what is wrong with an event, and where, and exits with 1', async () => {
    const fine = { event_name: 'Viewed', ...ada, properties: { n: 1 } };
    const file = write('events.ndjson', fine, { ...fine, value: 'ten' });
    const { code, tried } = await tryAll([file]);
    expect(tried[0]).toMatchObject({
      source: 'events',
      entries: [{ outcome: 'sent' }],
      errors: [],
    });
    expect(tried[1]).toMatchObject({ entries: [], errors: [{ pointer: '/value' }] });
    expect(code).toBe(1);
  });

  it('reads profiles and warns of an invalid phone number', async () => {
    const file = write('profile.json', { ...ada, phone_number: 'none' });
    const { code, tried } = await tryAll([file, '--type', 'profiles']);
    expect(tried[0]).toMatchObject({
      entries: [{ lane: 'profiles', outcome: 'sent' }],
      warnings: [{ pointer: '/phone_number' }],
    });
    expect(code).toBe(0);
  });

  it('keeps the digits of numbers that JavaScript cannot represent', async () => {
    const file = join(directory, 'large.json');
    writeFileSync(
      file,
      '{"event_name":"Viewed","distinct_id":"1","properties":{"n":12345678901234567890}}',
    );
    const { output } = await runCommand(['map', file], {}, directory);
    expect(output).toContain('"n": 12345678901234567890');
  });

  it.each([
    ['no file', [], 'name a file'],
    ['a source that does not exist', ['FILE', '--source', 'shopfy'], 'did you mean shopify?'],
    ['an input that can be of several sources', ['FILE'], 'use --source or --type'],
    ['a topic that the body has', ['FILE', '--source', 'stripe', '--topic', 'x'], '--topic'],
    [
      'a type that does not exist',
      ['FILE', '--type', 'orders'],
      'one of events, profiles, subscriptions, unsubscriptions, suppressions, unsuppressions',
    ],
  ])('prints its usage after %s', async (_name, args, words) => {
    const file = write('some.json', { id: 1 });
    const { code, output } = await runCommand(
      ['map', ...args.map((each) => (each === 'FILE' ? file : each))],
      {},
      directory,
    );
    expect(output).toContain(words);
    expect(code).toBe(2);
  });

  it('reports the line of a file that is not JSON', async () => {
    const file = join(directory, 'broken.ndjson');
    writeFileSync(file, '{"event_name":"Viewed","distinct_id":"1"}\n{"event_name":\n');
    const { code, output } = await runCommand(['map', file], {}, directory);
    expect(output).toContain('line 2');
    expect(code).toBe(2);
  });
});
