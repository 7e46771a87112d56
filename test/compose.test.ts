import { readFileSync } from 'node:fs';
import fastify from 'fastify';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { z } from 'zod';
import { parseDockerfile } from '../scripts/dockerfile.js';
import { systemClock } from '../src/clock.js';
import { loadConfig, settingsSchema } from '../src/config/config.js';
import { readDurability } from '../src/redis/durability.js';
import { createRedisConnection } from '../src/redis/create-connection.js';
import { parseRedisUrl } from '../src/redis/address.js';
import { interpolate } from './support/compose.js';
import { findAll, parseNginx } from './support/nginx-conf.js';
import { startRedis } from './support/redis-server.js';

const root = new URL('../', import.meta.url);
const read = (path: string): string => readFileSync(new URL(path, root), 'utf8');

const serviceSchema = z.looseObject({
  image: z.string().optional(),
  build: z.string().optional(),
  profiles: z.array(z.string()).default([]),
  environment: z.record(z.string(), z.coerce.string()).default({}),
  command: z.array(z.string()).default([]),
  ports: z.array(z.string()).default([]),
  volumes: z.array(z.string()).default([]),
  depends_on: z.record(z.string(), z.object({ condition: z.string() })).default({}),
  healthcheck: z.object({ test: z.array(z.string()) }).optional(),
  stop_grace_period: z
    .string()
    .regex(/^\d+s$/)
    .optional(),
});
const { services: services, volumes } = z
  .object({
    services: z.record(z.string(), serviceSchema),
    volumes: z.record(z.string(), z.null()),
  })
  .parse(parse(read('docker-compose.yml'), { merge: true }));
const namesOf = (profile: string | undefined) =>
  Object.keys(services).filter((name) => services[name]?.profiles[0] === profile);
const { balancer, valkey } = z
  .object({ balancer: serviceSchema, valkey: serviceSchema })
  .parse(services);
const sharingRelays = namesOf('redis').filter((name) => services[name]?.build !== undefined);

const imageEnv = Object.fromEntries(
  parseDockerfile(read('Dockerfile'))
    .stages.at(-1)!
    .steps.filter(({ op }) => op === 'ENV')
    .flatMap(({ words }) => words.map((word) => word.split('=') as [string, string])),
);
const configure = (name: string) =>
  loadConfig({
    ...imageEnv,
    ...Object.fromEntries(
      Object.entries(services[name]?.environment ?? {}).map(([key, text]) => [
        key,
        interpolate(text, {}),
      ]),
    ),
  });

describe('the Compose file', () => {
  it('starts the relay and the sandbox by default, and the other services by a profile', () => {
    expect(namesOf(undefined)).toEqual(['relay', 'sandbox']);
    expect(namesOf('redis')).toEqual(['relay-a', 'relay-b', 'balancer', 'valkey']);
  });

  it('sets only variables that are settings of the relay', () => {
    const names = Object.values(services).flatMap(({ environment }) => Object.keys(environment));
    expect(names.filter((name) => !(name in settingsSchema.shape))).toEqual([]);
  });

  it('declares every volume that it mounts and mounts only files that exist', () => {
    const mounted = Object.values(services).flatMap(({ volumes: each }) => each);
    const sources = mounted.map((volume) => volume.split(':')[0] ?? '');
    expect(sources.filter((each) => !each.startsWith('.'))).toEqual(Object.keys(volumes));
    for (const path of sources.filter((each) => each.startsWith('.'))) {
      expect(read(path)).not.toBe('');
    }
  });

  it('pins at least the major version of each image and publishes ports on loopback only', () => {
    for (const { image, build } of Object.values(services)) {
      expect(build ?? image).toMatch(/^(\.|[a-z/]+:\d+(\.\d+)?-alpine)$/);
    }
    for (const port of Object.values(services).flatMap(({ ports }) => ports)) {
      expect(port).toMatch(/^127\.0\.0\.1:/);
    }
  });

  it('makes services wait only for services that start with them and have a health check', () => {
    for (const [name, { profiles, depends_on: dependencies }] of Object.entries(services)) {
      for (const [dependency, { condition }] of Object.entries(dependencies)) {
        expect(condition).toBe('service_healthy');
        // The image of the relay contains its own health check.
        expect(services[dependency]?.healthcheck ?? services[dependency]?.build).toBeDefined();
        expect([...profiles, undefined], name).toContain(services[dependency]?.profiles[0]);
      }
    }
  });

  it('has two relays on one buffer, which accept nothing that could be lost', () => {
    expect(sharingRelays).toEqual(['relay-a', 'relay-b']);
    for (const name of sharingRelays) {
      const config = configure(name);
      expect(config).toMatchObject({ STORE: 'redis', REDIS_REQUIRE_DURABLE: true });
      expect(config.REDIS_URL?.hosts).toEqual([{ host: 'valkey', port: 6379 }]);
      expect(config).toEqual(configure(sharingRelays[0] ?? ''));
      expect(services[name]?.ports).toEqual([]);
      const graceMs = parseInt(services[name]?.stop_grace_period ?? '', 10) * 1000;
      expect(graceMs).toBeGreaterThan(config.SHUTDOWN_TIMEOUT_MS + 2000);
    }
  });

  it('has a durable Valkey on a volume that only its network can reach', async () => {
    const [program, ...flags] = valkey.command;
    const settings = Object.fromEntries(
      flags.flatMap((flag, index) =>
        index % 2 === 0 ? [[flag.replace(/^--/, ''), flags[index + 1] ?? '']] : [],
      ),
    );
    expect(program).toBe('valkey-server');
    expect(valkey.ports).toEqual([]);
    expect(valkey.volumes).toEqual(['valkey-data:/data']);
    expect(valkey.healthcheck?.test.at(-1)).toContain('valkey-cli ping');
    const server = await startRedis({ settings });
    const connection = createRedisConnection({
      address: parseRedisUrl(server.url),
      clock: systemClock,
      timeoutMs: 2000,
    });
    try {
      expect(await connection.untilUp(5000)).toBe(true);
      expect(await readDurability(connection, { stated: 'auto', waitReplicas: 0 })).toMatchObject({
        isDurable: true,
        findings: [],
      });
    } finally {
      await connection.close();
      await server.close();
    }
  });
});

describe('deploy/nginx.conf', () => {
  const conf = parseNginx(read('deploy/nginx.conf'));
  const argsOf = (name: string) => findAll(conf, name).map(({ args }) => args);
  const [upstream] = findAll(conf, 'upstream');

  it('passes requests to the relays in turn on persistent connections', () => {
    const backends = findAll(upstream!.block, 'server').map(({ args }) => args[0]);
    expect(backends).toEqual(sharingRelays.map((name) => `${name}:${configure(name).PORT}`));
    expect(Object.keys(balancer.depends_on)).toEqual(sharingRelays);
    const otherMethods = ['least_conn', 'ip_hash', 'hash', 'random'];
    expect(upstream!.block.filter(({ name }) => otherMethods.includes(name))).toEqual([]);
    expect(upstream!.block.map(({ name }) => name)).toEqual(
      expect.arrayContaining(['zone', 'keepalive']),
    );
    expect(argsOf('proxy_pass')).toEqual([[`http://${upstream?.args[0] ?? ''}`]]);
    expect(argsOf('proxy_http_version')).toEqual([['1.1']]);
  });

  it('closes an idle connection before a relay does', () => {
    const [[idle = '']] = argsOf('keepalive_timeout') as [string[]];
    const relayMs = fastify().initialConfig.keepAliveTimeout ?? 0;
    expect(idle).toMatch(/^\d+s$/);
    expect(parseInt(idle, 10) * 1000).toBeLessThan(relayMs);
  });

  it('never repeats a POST that may have arrived', () => {
    expect(argsOf('proxy_next_upstream')).toEqual([['error', 'timeout']]);
  });

  it('changes only headers of the connection, so that Idempotency-Key arrives', () => {
    expect(argsOf('proxy_set_header')).toEqual([
      ['Connection', ''],
      ['Host', '$http_host'],
      ['X-Forwarded-For', '$remote_addr'],
      ['X-Forwarded-Proto', '$scheme'],
    ]);
    expect([...argsOf('proxy_pass_request_headers'), ...argsOf('proxy_hide_header')]).toEqual([]);
    for (const name of sharingRelays) expect(configure(name).TRUST_PROXY).toBe(1);
  });

  it('has the same limits as the relay', () => {
    const { shape } = settingsSchema;
    const toText = (ms: number) => `${ms / 1000}s`;
    expect(argsOf('client_max_body_size')).toEqual([
      [String(shape.BODY_LIMIT_BYTES.parse(undefined))],
    ]);
    expect(argsOf('client_header_timeout')).toEqual([
      [toText(shape.HEADERS_TIMEOUT_MS.parse(undefined))],
    ]);
    expect(argsOf('client_body_timeout')).toEqual([
      [toText(shape.REQUEST_TIMEOUT_MS.parse(undefined))],
    ]);
    const [[readTimeout = '']] = argsOf('proxy_read_timeout') as [string[]];
    expect(parseInt(readTimeout, 10) * 1000).toBeGreaterThan(
      shape.SYNC_TIMEOUT_MS.parse(undefined),
    );
  });

  it('listens on the published port without root and writes only to memory', () => {
    expect(argsOf('listen')).toEqual([['8080']]);
    expect(balancer.ports.map((port) => interpolate(port, {}))).toEqual(['127.0.0.1:8080:8080']);
    expect(balancer).toMatchObject({ user: 'nginx', read_only: true, tmpfs: ['/tmp'] });
    const paths = ['client_body', 'proxy', 'fastcgi', 'scgi', 'uwsgi'].flatMap((name) =>
      argsOf(`${name}_temp_path`),
    );
    expect(paths).toHaveLength(5);
    for (const [path] of [...paths, ...argsOf('pid')]) expect(path).toMatch(/^\/tmp\//);
    expect(balancer.volumes).toEqual(['./deploy/nginx.conf:/etc/nginx/nginx.conf:ro']);
  });
});

describe('parseNginx', () => {
  it('reads blocks, quotes and comments, and rejects unclosed blocks and directives', () => {
    expect(parseNginx('a b "c d"; # e;\nf { g; }')).toEqual([
      { name: 'a', args: ['b', 'c d'], block: [] },
      { name: 'f', args: [], block: [{ name: 'g', args: [], block: [] }] },
    ]);
    for (const text of ['a b', 'a { b;', 'a; }']) {
      expect(() => parseNginx(text)).toThrow('not closed');
    }
  });
});
