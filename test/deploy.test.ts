import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { z } from 'zod';
import { parseDockerfile } from '../scripts/dockerfile.js';
import { loadConfig, settingsSchema, type Config } from '../src/config/config.js';
import { loadForm, readManifests, toTypeErrors, type Manifest } from './support/kubernetes.js';
import {
  labels,
  selector,
  service,
  toWrongChoices,
  workload,
  type Probe,
} from './support/manifest-shapes.js';

const root = new URL('../', import.meta.url);
const read = (path: string): string => readFileSync(new URL(path, root), 'utf8');

const steps = parseDockerfile(read('Dockerfile')).stages.at(-1)!.steps;
const wordsOf = (op: string) =>
  steps.filter((step) => step.op === op).flatMap(({ words }) => words);
const imageEnv = Object.fromEntries(
  wordsOf('ENV').map((word) => word.split('=') as [string, string]),
);
const { version } = z.object({ version: z.string() }).parse(JSON.parse(read('package.json')));
const { paths } = z
  .object({ paths: z.record(z.string(), z.record(z.string(), z.unknown())) })
  .parse(parse(read('openapi.yaml')));

const isSetting = (name: string) => name in settingsSchema.shape;

const load = (name: string) => {
  const form = loadForm(new URL(`deploy/kubernetes/${name}/`, root));
  const ofKind = (kind: string): readonly Manifest[] =>
    form.manifests.filter((each) => each.kind === kind);
  const workloads = [...ofKind('Deployment'), ...ofKind('StatefulSet')].map((each) =>
    workload.parse(each),
  );
  const workloadSpec = workloads[0]!;
  const pod = workloadSpec.spec.template;
  const relay = pod.spec.containers[0];
  return { ...form, ofKind, workloads, workloadSpec, pod, relay };
};
const forms = { journal: load('journal'), redis: load('redis') };
type Loaded = (typeof forms)['journal'];

const secret = z
  .looseObject({ metadata: z.object({ name: z.string() }), stringData: labels })
  .parse(readManifests(new URL('deploy/kubernetes/secret.example.yaml', root))[0]);

/** Returns the configuration of the relay in a pod with the secrets of the example. */
const configure = ({ relay, settings }: Loaded): Config =>
  loadConfig({
    ...imageEnv,
    ...settings[relay.envFrom[0].configMapRef.name],
    ...Object.fromEntries(
      relay.env.map(({ name, valueFrom }) => [name, secret.stringData[valueFrom.secretKeyRef.key]]),
    ),
    // The key in the example is a placeholder, which the relay rejects.
    KLAVIYO_API_KEY: 'pk_1',
  });

describe.each(Object.entries(forms))('the Kubernetes manifests for the %s store', (name, form) => {
  const { manifests, settings, ofKind, workloads, workloadSpec, pod, relay } = form;

  it('have only fields that Kubernetes defines', () => {
    expect(toTypeErrors(manifests)).toEqual([]);
    expect(toWrongChoices(manifests)).toEqual([]);
  });

  it('have one workload, and every selector selects its pods', () => {
    expect(workloads).toHaveLength(1);
    const budgets = ofKind('PodDisruptionBudget').map(({ spec }) =>
      z.looseObject({ selector, maxUnavailable: z.literal(1) }).parse(spec),
    );
    const services = ofKind('Service').map((each) => service.parse(each).spec.selector);
    expect(budgets).toHaveLength(1);
    expect(services.length).toBeGreaterThan(0);
    const selected = [
      workloadSpec.spec.selector.matchLabels,
      ...budgets.map((each) => each.selector.matchLabels),
      ...services,
      ...pod.spec.topologySpreadConstraints.map((each) => each.labelSelector.matchLabels),
    ];
    for (const each of selected) expect(each).toEqual(pod.metadata.labels);
  });

  it('use the port that the image exposes and paths that the relay serves', () => {
    const [port] = relay.ports;
    const { annotations } = pod.metadata;
    expect(String(port.containerPort)).toBe(wordsOf('EXPOSE')[0]);
    expect(annotations).toMatchObject({
      'prometheus.io/scrape': 'true',
      'prometheus.io/port': String(port.containerPort),
    });
    const probes = [relay.startupProbe, relay.livenessProbe, relay.readinessProbe];
    const targets = [
      ...probes.map(({ httpGet }) => httpGet.port),
      ...ofKind('Service').flatMap((each) =>
        service.parse(each).spec.ports.map(({ targetPort }) => targetPort),
      ),
    ];
    expect(new Set(targets)).toEqual(new Set([port.name]));
    expect(probes.map(({ httpGet }) => httpGet.path)).toEqual(['/livez', '/livez', '/readyz']);
    const requestedPaths = [
      ...probes.map(({ httpGet }) => httpGet.path),
      annotations['prometheus.io/path']!,
    ];
    for (const path of requestedPaths) expect(paths[path]).toHaveProperty('get');
  });

  it('set only settings of the relay, which are valid', () => {
    const names = [
      ...Object.values(settings).flatMap((each) => Object.keys(each)),
      ...relay.env.map((each) => each.name),
    ];
    expect(names.filter((each) => !isSetting(each))).toEqual([]);
    expect(configure(form)).toMatchObject({ STORE: name, HOST: '0.0.0.0', LOG_FORMAT: 'json' });
  });

  it('contain no secret and refer to those of secret.example.yaml', () => {
    expect(ofKind('Secret')).toEqual([]);
    const refs = relay.env.map((each) => [each.name, each.valueFrom.secretKeyRef.key]);
    for (const [variable, key] of refs) expect(key).toBe(variable);
    const unknown = relay.env
      .map(({ valueFrom }) => valueFrom.secretKeyRef)
      .filter((ref) => ref.name !== secret.metadata.name || !(ref.key in secret.stringData));
    expect(unknown).toEqual([]);
    const plain = Object.values(settings).flatMap((each) => Object.keys(each));
    expect(plain.filter((each) => each in secret.stringData)).toEqual([]);
  });

  it('leave a relay time to drain after its endpoint is removed', () => {
    const delayMs = Number(relay.lifecycle.preStop.exec.command[1]) * 1000;
    expect(delayMs).toBeGreaterThanOrEqual(5000);
    const neededMs = delayMs + configure(form).SHUTDOWN_TIMEOUT_MS;
    expect(pod.spec.terminationGracePeriodSeconds * 1000).toBeGreaterThanOrEqual(neededMs + 5000);
  });

  it('permit a start of minutes, restart late and take out of rotation early', () => {
    const toSeconds = (each: Probe) => each.periodSeconds * each.failureThreshold;
    expect(toSeconds(relay.startupProbe)).toBeGreaterThanOrEqual(120);
    expect(toSeconds(relay.livenessProbe)).toBeGreaterThanOrEqual(30);
    expect(toSeconds(relay.readinessProbe)).toBeLessThanOrEqual(5);
  });

  it('run the relay as the user of the image, without rights beyond its volumes', () => {
    const [user, group] = (wordsOf('USER')[0] ?? '').split(':').map(Number);
    expect(pod.spec).toMatchObject({
      automountServiceAccountToken: false,
      enableServiceLinks: false,
      securityContext: {
        runAsNonRoot: true,
        runAsUser: user,
        runAsGroup: group,
        seccompProfile: { type: 'RuntimeDefault' },
      },
    });
    expect(relay).toMatchObject({
      securityContext: {
        allowPrivilegeEscalation: false,
        readOnlyRootFilesystem: true,
        capabilities: { drop: ['ALL'] },
      },
    });
    expect(Object.keys(relay.resources.requests)).toEqual(['cpu', 'memory']);
    expect(Object.keys(relay.resources.limits)).toEqual(['memory']);
  });

  it('use the image of the current version', () => {
    expect(relay.image).toBe(`klaviyo-relay:${version}`);
  });
});

describe('the Kubernetes manifests for both stores', () => {
  it('run the same pod except for its store', () => {
    const toShared = ({ pod, relay }: Loaded) => ({
      metadata: pod.metadata,
      containers: [{ ...relay, env: [], resources: {}, volumeMounts: [] }],
      grace: pod.spec.terminationGracePeriodSeconds,
    });
    expect(toShared(forms.journal)).toEqual(toShared(forms.redis));
    expect(forms.redis.relay.env.slice(0, -1)).toEqual(forms.journal.relay.env);
    expect(forms.redis.relay.env.at(-1)?.name).toBe('REDIS_URL');
  });
});

describe('secret.example.yaml', () => {
  it('is a valid Secret with placeholders as values', () => {
    expect(
      toTypeErrors(readManifests(new URL('deploy/kubernetes/secret.example.yaml', root))),
    ).toEqual([]);
    for (const value of Object.values(secret.stringData)) expect(value).toContain('REPLACE-ME');
  });
});

describe('Kubernetes relays with a journal each', () => {
  const { workloadSpec, pod, relay, ofKind } = forms.journal;
  const spec = z
    .looseObject({
      replicas: z.int(),
      serviceName: z.string(),
      volumeClaimTemplates: z.tuple([
        z.object({
          metadata: z.object({ name: z.string() }),
          spec: z.object({ resources: z.object({ requests: z.object({ storage: z.string() }) }) }),
        }),
      ]),
    })
    .parse(workloadSpec.spec);
  const config = configure(forms.journal);

  it('together do not exceed the limits that Klaviyo grants', () => {
    const granted = settingsSchema.parse({ KLAVIYO_API_KEY: 'pk_1' });
    const { replicas } = spec;
    expect(config.RATE_LIMIT_PER_SECOND * replicas).toBeLessThanOrEqual(
      granted.RATE_LIMIT_PER_SECOND,
    );
    expect(config.RATE_LIMIT_BURST * replicas).toBeLessThanOrEqual(granted.RATE_LIMIT_BURST);
    for (const name of ['EVENT_RATE_WINDOWS', 'PROFILE_RATE_WINDOWS'] as const) {
      expect(config[name].map((each) => ({ ...each, limit: each.limit * replicas }))).toEqual(
        granted[name],
      );
    }
  });

  it('have a volume each at the path of the journal, which outlives the pod', () => {
    const [claim] = spec.volumeClaimTemplates;
    expect(relay.volumeMounts).toContainEqual({
      name: claim.metadata.name,
      mountPath: config.DATA_DIR,
    });
    expect(pod.spec.securityContext.fsGroup).toBe(Number((wordsOf('USER')[0] ?? '').split(':')[1]));
    expect(spec.persistentVolumeClaimRetentionPolicy).toEqual({
      whenDeleted: 'Retain',
      whenScaled: 'Retain',
    });
    const [, gib] = /^(\d+)Gi$/.exec(claim.spec.resources.requests.storage) ?? [];
    // docs/operations/capacity.md: the file grows to 1.8 times the payload.
    const neededBytes = 1.8 * (config.MAX_BUFFER_BYTES ?? NaN) + config.DISK_RESERVE_BYTES;
    expect(Number(gib) * 1024 ** 3).toBeGreaterThan(neededBytes);
  });

  it('start together and have a DNS name each, ready or not', () => {
    expect(spec.podManagementPolicy).toBe('Parallel');
    const headless = ofKind('Service').find(({ metadata }) => metadata.name === spec.serviceName);
    expect(headless?.spec).toMatchObject({ clusterIP: 'None', publishNotReadyAddresses: true });
  });
});

describe('Kubernetes relays that share a buffer in Redis', () => {
  const { workloadSpec, relay, ofKind } = forms.redis;

  it('are replaced one by one without fewer running relays', () => {
    expect(workloadSpec.spec.strategy).toMatchObject({
      rollingUpdate: { maxUnavailable: 0, maxSurge: 1 },
    });
  });

  it('have their number from the autoscaler, at least two', () => {
    expect(workloadSpec.spec).not.toHaveProperty('replicas');
    expect(ofKind('HorizontalPodAutoscaler').map(({ spec }) => spec)).toEqual([
      expect.objectContaining({
        scaleTargetRef: {
          apiVersion: 'apps/v1',
          kind: 'Deployment',
          name: workloadSpec.metadata.name,
        },
        minReplicas: 2,
      }),
    ]);
    expect(Object.keys(relay.resources.requests)).toContain('cpu');
  });

  it('have no volume of their own and accept nothing that Redis could lose', () => {
    expect(relay.volumeMounts.map(({ mountPath }) => mountPath)).toEqual(['/tmp']);
    expect(configure(forms.redis).REDIS_REQUIRE_DURABLE).toBe(true);
  });
});

describe('toTypeErrors', () => {
  const budget = forms.redis.ofKind('PodDisruptionBudget')[0]!;

  it('reports a field that is unknown, of another type or missing, and an unknown kind', () => {
    const [deployment] = forms.redis.ofKind('Deployment');
    const errors = toTypeErrors([
      { ...budget, spec: { maxUnavailble: 1 } },
      { ...budget, spec: { selector: { matchLabels: ['a'] } } },
      { ...deployment!, spec: { replicas: 1 } },
      { ...budget, kind: 'PodDisruptionBugdet' },
    ]);
    const expected = [
      /maxUnavailble/,
      /not assignable/,
      /missing.*selector/,
      /PodDisruptionBugdet/,
    ];
    expect(errors).toEqual(expected.map((each): unknown => expect.stringMatching(each)));
  });
});
