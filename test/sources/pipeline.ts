import { z } from 'zod';
import type { Draft } from '../../src/model/envelope.js';
import {
  createAcceptFromSource,
  type AcceptedFromSource,
} from '../../src/ingest/accept-from-source.js';
import { SourceActivity, type ActivityCount } from '../../src/ingest/source-activity.js';
import { createMetrics } from '../../src/metrics.js';
import { sources, sourceSettings, type SourceName } from '../../src/sources/list.js';
import { applyMapping, type Mapping } from '../../src/sources/mapping/mapping.js';
import type { SourceRequest } from '../../src/sources/source.js';
import { receivedAt } from '../ingest/fixture.js';
import { createManualClock } from '../support/manual-clock.js';
import { newestRules } from '../support/revisions.js';

/** The accept half of every source, with an in-memory store that accepts everything and keeps all facts. */
export type Pipeline = {
  /** Drafts in the order in which they were accepted. */
  readonly drafts: readonly Draft[];
  /** Null if the map cannot read the request. */
  send(source: SourceName, request: Partial<SourceRequest>): Promise<AcceptedFromSource | null>;
  activity(): readonly ActivityCount[];
};

export function createPipeline(
  env: Readonly<Record<string, string>> = {},
  mapping: Mapping = {},
): Pipeline {
  const metrics = createMetrics('test');
  const clock = createManualClock(receivedAt);
  const activity = new SourceActivity({ clock, metrics });
  const settings = { ...z.object(sourceSettings).parse(env), MAPPING_FILE: mapping };
  const drafts: Draft[] = [];
  const facts = new Map<string, string>();
  let made = 0;
  const accept = createAcceptFromSource({
    store: {
      append(given) {
        drafts.push(...given);
        const envelopes = given.map((_, index) => ({ id: String(index), duplicate: false }));
        return Promise.resolve({ ok: true, envelopes });
      },
      putFacts(given) {
        for (const { key, value } of given) facts.set(key, value);
        return Promise.resolve({ ok: true });
      },
      getFacts: (keys) => Promise.resolve(keys.map((key) => facts.get(key) ?? null)),
    },
    clock,
    eventRules: () => newestRules,
    backfillAfterMs: Infinity,
    metrics,
    activity,
    newId: () => `made-${++made}`,
    applyMapping: (post) => applyMapping(post, mapping),
  });
  return {
    drafts,
    async send(name, request) {
      const source = sources.find((each) => each.name === name);
      if (source === undefined) throw new Error(`there is no source ${name}`);
      const whole = { path: '/', headers: {}, body: null, receivedAt, ...request };
      const read = source.map(whole, settings);
      return read.ok ? accept(read.post, { strict: false }) : null;
    },
    activity: () => activity.list(),
  };
}
