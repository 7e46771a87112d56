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

const part = z.looseObject({
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
const { services: parts, volumes } = z
  .object({ services: z.record(z.string(), part), volumes: z.record(z.string(), z.null()) })
  .parse(parse(read('docker-compose.yml'), { merge: true }));
const namesOf = (profile: string | undefined) =>
  Object.keys(parts).filter((name) => parts[name]?.profiles[0] === profile);
const { balancer, valkey } = z.object({ balancer: part, valkey: part }).parse(parts);
const sharing = namesOf('redis').filter((name) => parts[name]?.build !== undefined);

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
      Object.entries(parts[name]?.environment ?? {}).map(([key, text]) => [
        key,
        interpolate(text, {}),
      ]),
    ),
  });

describe('the Compose file', () => {
  it('starts the relay and the sandbox, and the rest by a profile', () => {
    expect(namesOf(undefined)).toEqual(['relay', 'sandbox']);
    expect(namesOf('redis')).toEqual(['relay-a', 'relay-b', 'balancer', 'valkey']);
  });

  it('sets nothing but settings of the relay', () => {
    const names = Object.values(parts).flatMap(({ environment }) => Object.keys(environment));
    expect(names.filter((name) => !(name in settingsSchema.shape))).toEqual([]);
  });

  it('declares every volume that it mounts, and mounts every file that is there', () => {
    const mounted = Object.values(parts).flatMap(({ volumes: each }) => each);
    const sources = mounted.map((volume) => volume.split(':')[0] ?? '');
    expect(sources.filter((each) => !each.startsWith('.'))).toEqual(Object.keys(volumes));
    for (const path of sources.filter((each) => each.startsWith('.'))) {
      expect(read(path)).not.toBe('');
    }
  });

  it('pins at least the major version of what it does not build, and publishes on loopback', () => {
    for (const { image, build } of Object.values(parts)) {
      expect(build ?? image).toMatch(/^(\.|[a-z/]+:\d+(\.\d+)?-alpine)$/);
    }
    for (const port of Object.values(parts).flatMap(({ ports }) => ports)) {
      expect(port).toMatch(/^127\.0\.0\.1:/);
    }
  });

  it('waits only for what starts with it and tells that it is well', () => {
    for (const [name, { profiles, depends_on: needs }] of Object.entries(parts)) {
      for (const [need, { condition }] of Object.entries(needs)) {
        expect(condition).toBe('service_healthy');
        // The image of the relay has a check of its own.
        expect(parts[need]?.healthcheck ?? parts[need]?.build).toBeDefined();
        expect([...profiles, undefined], name).toContain(parts[need]?.profiles[0]);
      }
    }
  });

  it('has two relays on one buffer, which take nothing that could be lost', () => {
    expect(sharing).toEqual(['relay-a', 'relay-b']);
    for (const name of sharing) {
      const config = configure(name);
      expect(config).toMatchObject({ STORE: 'redis', REDIS_REQUIRE_DURABLE: true });
      expect(config.REDIS_URL?.hosts).toEqual([{ host: 'valkey', port: 6379 }]);
      expect(config).toEqual(configure(sharing[0] ?? ''));
      expect(parts[name]?.ports).toEqual([]);
      const graceMs = parseInt(parts[name]?.stop_grace_period ?? '', 10) * 1000;
      expect(graceMs).toBeGreaterThan(config.SHUTDOWN_TIMEOUT_MS + 2000);
    }
  });

  it('has a Valkey that keeps what it acknowledges, on a volume, for this network alone', async () => {
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

describe('nginx in front of the relays', () => {
  const conf = parseNginx(read('deploy/nginx.conf'));
  const argsOf = (name: string) => findAll(conf, name).map(({ args }) => args);
  const [upstream] = findAll(conf, 'upstream');

  it('passes requests to each relay in turn, on connections that stay', () => {
    const backends = findAll(upstream!.block, 'server').map(({ args }) => args[0]);
    expect(backends).toEqual(sharing.map((name) => `${name}:${configure(name).PORT}`));
    expect(Object.keys(balancer.depends_on)).toEqual(sharing);
    const ways = ['least_conn', 'ip_hash', 'hash', 'random'];
    expect(upstream!.block.filter(({ name }) => ways.includes(name))).toEqual([]);
    expect(upstream!.block.map(({ name }) => name)).toEqual(
      expect.arrayContaining(['zone', 'keepalive']),
    );
    expect(argsOf('proxy_pass')).toEqual([[`http://${upstream?.args[0] ?? ''}`]]);
    expect(argsOf('proxy_http_version')).toEqual([['1.1']]);
  });

  it('closes a connection that idles before a relay does', () => {
    const [[idle = '']] = argsOf('keepalive_timeout') as [string[]];
    const relayMs = fastify().initialConfig.keepAliveTimeout ?? 0;
    expect(idle).toMatch(/^\d+s$/);
    expect(parseInt(idle, 10) * 1000).toBeLessThan(relayMs);
  });

  it('never sends a POST a second time that may have arrived', () => {
    expect(argsOf('proxy_next_upstream')).toEqual([['error', 'timeout']]);
  });

  it('changes no header but those of the connection, so that Idempotency-Key arrives', () => {
    expect(argsOf('proxy_set_header')).toEqual([
      ['Connection', ''],
      ['Host', '$http_host'],
      ['X-Forwarded-For', '$remote_addr'],
      ['X-Forwarded-Proto', '$scheme'],
    ]);
    expect([...argsOf('proxy_pass_request_headers'), ...argsOf('proxy_hide_header')]).toEqual([]);
    for (const name of sharing) expect(configure(name).TRUST_PROXY).toBe(1);
  });

  it('has the limits of the relay', () => {
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
    const [[answer = '']] = argsOf('proxy_read_timeout') as [string[]];
    expect(parseInt(answer, 10) * 1000).toBeGreaterThan(shape.SYNC_TIMEOUT_MS.parse(undefined));
  });

  it('listens where the port is published, without root, and writes to memory alone', () => {
    expect(argsOf('listen')).toEqual([['8080']]);
    expect(balancer.ports.map((port) => interpolate(port, {}))).toEqual(['127.0.0.1:8080:8080']);
    expect(balancer).toMatchObject({ user: 'nginx', read_only: true, tmpfs: ['/tmp'] });
    const places = ['client_body', 'proxy', 'fastcgi', 'scgi', 'uwsgi'].flatMap((name) =>
      argsOf(`${name}_temp_path`),
    );
    expect(places).toHaveLength(5);
    for (const [place] of [...places, ...argsOf('pid')]) expect(place).toMatch(/^\/tmp\//);
    expect(balancer.volumes).toEqual(['./deploy/nginx.conf:/etc/nginx/nginx.conf:ro']);
  });
});

describe('what reads an nginx.conf', () => {
  it('reads blocks, quotes and comments, and refuses what is not closed', () => {
    expect(parseNginx('a b "c d"; # e;\nf { g; }')).toEqual([
      { name: 'a', args: ['b', 'c d'], block: [] },
      { name: 'f', args: [], block: [{ name: 'g', args: [], block: [] }] },
    ]);
    for (const text of ['a b', 'a { b;', 'a; }']) {
      expect(() => parseNginx(text)).toThrow('not closed');
    }
  });
});
