import { z } from 'zod';

/** Schemas of the manifest fields that the tests read; kubernetes.ts checks whole manifests. */

export const labels = z.record(z.string(), z.string());
export const selector = z.strictObject({ matchLabels: labels });
const probe = z.object({
  httpGet: z.object({ path: z.string(), port: z.string() }),
  periodSeconds: z.int(),
  timeoutSeconds: z.int(),
  failureThreshold: z.int(),
});
export type Probe = z.infer<typeof probe>;
const secretRef = z.object({ name: z.string(), key: z.string(), optional: z.boolean().optional() });
const container = z.looseObject({
  image: z.string(),
  ports: z.tuple([z.object({ name: z.string(), containerPort: z.int() })]),
  envFrom: z.tuple([z.strictObject({ configMapRef: z.object({ name: z.string() }) })]),
  // No `value`: settings that are not secret are in the ConfigMap.
  env: z.array(
    z.strictObject({
      name: z.string(),
      valueFrom: z.strictObject({ secretKeyRef: secretRef }),
    }),
  ),
  startupProbe: probe,
  livenessProbe: probe,
  readinessProbe: probe,
  lifecycle: z.object({
    preStop: z.object({ exec: z.object({ command: z.tuple([z.literal('sleep'), z.string()]) }) }),
  }),
  volumeMounts: z.array(z.object({ name: z.string(), mountPath: z.string() })),
  resources: z.object({ requests: labels, limits: labels }),
});
export const workload = z.looseObject({
  metadata: z.object({ name: z.string() }),
  spec: z.looseObject({
    selector,
    template: z.object({
      metadata: z.object({ labels, annotations: labels }),
      spec: z.looseObject({
        containers: z.tuple([container]),
        terminationGracePeriodSeconds: z.int(),
        securityContext: z.looseObject({}),
        topologySpreadConstraints: z.array(z.looseObject({ labelSelector: selector })).min(1),
      }),
    }),
  }),
});
export const service = z.looseObject({
  metadata: z.object({ name: z.string() }),
  spec: z.looseObject({
    selector: labels,
    ports: z.array(z.looseObject({ targetPort: z.string() })),
  }),
});

/** Fields with a fixed set of values, which Kubernetes' types declare as `string`. */
const choices: Readonly<Record<string, readonly string[]>> = {
  fsGroupChangePolicy: ['Always', 'OnRootMismatch'],
  podManagementPolicy: ['OrderedReady', 'Parallel'],
  unhealthyPodEvictionPolicy: ['AlwaysAllow', 'IfHealthyBudget'],
  whenUnsatisfiable: ['DoNotSchedule', 'ScheduleAnyway'],
  medium: ['', 'Memory'],
};
export const toWrongChoices = (value: unknown): readonly string[] =>
  typeof value !== 'object' || value === null
    ? []
    : Object.entries(value).flatMap(([name, inner]: [string, unknown]) => {
        const isWrong = name in choices && !choices[name]?.some((choice) => choice === inner);
        return [...(isWrong ? [`${name}: ${String(inner)}`] : []), ...toWrongChoices(inner)];
      });
