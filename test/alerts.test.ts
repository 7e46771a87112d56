import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { z } from 'zod';
import { createMetrics } from '../src/metrics.js';
import { findBrokenTarget } from './support/markdown.js';

const root = new URL('../', import.meta.url);
const read = (path: string): string => readFileSync(new URL(path, root), 'utf8');

const rule = z.strictObject({
  alert: z.string().regex(/^KlaviyoRelay[A-Z]\w+$/),
  expr: z.string(),
  for: z.string().optional(),
  labels: z.strictObject({ severity: z.enum(['page', 'ticket']) }),
  annotations: z.strictObject({ summary: z.string(), runbook_url: z.string() }),
});
const file = z.strictObject({
  groups: z.tuple([z.strictObject({ name: z.literal('klaviyo-relay'), rules: z.array(rule) })]),
});
const path = 'deploy/prometheus/alerts.yaml';
const [{ rules }] = file.parse(parse(read(path))).groups;

const row =
  /^\| \[.+\]\(#(?<anchor>[\w-]+)\) \| `(?<expr>[^`]+)`(?<time>[^|]*)\| (?<severity>\w+) \|$/;

/** The alerts in the table of the runbook, in its order. */
const alertsOfRunbook = read('docs/operations/runbook.md')
  .split('\n')
  .flatMap((line) => {
    const { anchor, expr, time = '', severity } = row.exec(line)?.groups ?? {};
    const minutes = / for (\d+) minutes /.exec(time)?.[1];
    if (anchor === undefined) return [];
    return [{ anchor, expr, for: minutes && `${minutes}m`, severity }];
  });

const promtool = spawnSync('promtool', ['--version']).status === 0;

describe('the alert rules for Prometheus', () => {
  it('have the alerts in the table of the runbook', () => {
    expect(rules.length).toBeGreaterThan(10);
    expect(
      rules.map((each) => ({
        anchor: each.annotations.runbook_url.split('#')[1],
        expr: each.expr,
        for: each.for,
        severity: each.labels.severity,
      })),
    ).toEqual(alertsOfRunbook);
  });

  it.each(rules)('include $alert, which links to a section of the runbook', ({ annotations }) => {
    expect(findBrokenTarget(annotations.runbook_url)).toBeNull();
  });

  it('use only metrics that the relay has', () => {
    const names = new Set(
      createMetrics('0.0.0')
        .registry.getMetricsAsArray()
        .map(({ name }) => name),
    );
    const used = rules.flatMap(({ expr }) => expr.match(/\brelay_\w+/g) ?? []);
    expect(used.filter((name) => !names.has(name.replace(/_bucket$/, '')))).toEqual([]);
  });

  it.runIf(promtool)('are accepted by promtool', () => {
    const { status, stdout, stderr } = spawnSync('promtool', ['check', 'rules', path], {
      cwd: root,
      encoding: 'utf8',
    });
    expect([status, stderr]).toEqual([0, '']);
    expect(stdout).toContain(`${rules.length} rules found`);
  });
});
