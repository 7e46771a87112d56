import { describe, expect, it } from 'vitest';
import { createMetrics } from '../src/metrics.js';

/** Metrics that the dashboards of operators use, with their labels. */
const promised: Record<string, readonly string[]> = {
  relay_http_requests_total: ['route', 'method', 'status'],
  relay_http_request_duration_seconds: ['route'],
  relay_ingest_total: ['lane', 'outcome'],
  relay_buffer_envelopes: ['lane'],
  relay_buffer_bytes: ['lane'],
  relay_buffer_capacity_bytes: [],
  relay_buffer_oldest_age_seconds: ['lane'],
  relay_settled_total: ['lane', 'outcome'],
  relay_flushes_total: ['lane', 'trigger'],
  relay_batch_envelopes: ['lane'],
  relay_batch_bytes: ['lane'],
  relay_klaviyo_requests_total: ['lane', 'status'],
  relay_klaviyo_request_duration_seconds: ['lane'],
  relay_retries_total: ['lane', 'reason'],
  relay_batch_splits_total: ['lane', 'method'],
  relay_delivery_latency_seconds: ['lane'],
  relay_rate_limit_tokens: [],
  relay_rate_limit_wait_seconds: [],
  relay_klaviyo_paused: ['lane', 'reason'],
  relay_dead_letters: ['lane'],
  relay_store_sync_duration_seconds: [],
  relay_store_durable: [],
  relay_build_info: ['version', 'node'],
};

describe('the metrics of the relay', () => {
  it('include the promised names', async () => {
    const { registry } = createMetrics('1.2.3');
    const names = (await registry.getMetricsAsJSON()).map(({ name }) => name);
    expect(names).toEqual(expect.arrayContaining(Object.keys(promised)));
    expect(names).toContain('process_resident_memory_bytes');
  });

  it('include only the further names in this list', async () => {
    const { registry } = createMetrics('1.2.3');
    const names = (await registry.getMetricsAsJSON()).map(({ name }) => name);
    const added = names.filter((name) => name.startsWith('relay_') && !(name in promised));
    expect(added.sort()).toEqual([
      'relay_auth_failures_total',
      'relay_dead_letters_capacity',
      'relay_dead_letters_dropped_total',
      'relay_drafting_thread_failures_total',
      'relay_import_jobs_oldest_age_seconds',
      'relay_import_jobs_open',
      'relay_ingest_backfilled_total',
      'relay_ingest_warnings_total',
      'relay_klaviyo_revision',
      'relay_log_lines_dropped_total',
      'relay_profiles_unchanged_total',
      'relay_redriven_total',
      'relay_source_skipped_total',
      'relay_store_accepted',
      'relay_store_lease_left_seconds',
      'relay_store_settled',
    ]);
  });

  it('have exactly the promised labels', () => {
    const { registry } = createMetrics('1.2.3');
    for (const [name, labels] of Object.entries(promised)) {
      expect(registry.getSingleMetric(name), name).toMatchObject({ labelNames: labels });
    }
  });

  it('start at zero if their labels are known in advance', async () => {
    const { registry } = createMetrics('1.2.3');
    const text = await registry.metrics();
    expect(text).toContain('relay_ingest_total{lane="events",outcome="accepted"} 0');
    expect(text).toContain('relay_settled_total{lane="profiles",outcome="dead_lettered"} 0');
  });

  it('show the state at the time of the scrape', async () => {
    const { registry, onScrape, bufferEnvelopes } = createMetrics('1.2.3');
    let count = 0;
    onScrape(() => bufferEnvelopes.set({ lane: 'events' }, ++count));
    await registry.metrics();
    expect(await registry.metrics()).toContain('relay_buffer_envelopes{lane="events"} 2');
  });
});
