import { execFile, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, statSync } from 'node:fs';
import { createServer } from 'node:http';
import { promisify } from 'node:util';
import { afterEach, describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { z } from 'zod';
import { expand, parseDockerfile, parseIgnore } from '../scripts/dockerfile.js';
import { loadConfig, settingsSchema } from '../src/config/config.js';
import { interpolate } from './support/compose.js';

const root = new URL('../', import.meta.url);
const read = (path: string): string => readFileSync(new URL(path, root), 'utf8');
const manifest = z
  .object({
    description: z.string(),
    bin: z.record(z.string(), z.string()),
    scripts: z.object({ start: z.string() }),
  })
  .parse(JSON.parse(read('package.json')));

const { args, stages } = parseDockerfile(read('Dockerfile'));
const runtime = stages.at(-1)!;
const stepsOf = (op: string) => runtime.steps.filter((step) => step.op === op);
const wordsOf = (op: string) => stepsOf(op).flatMap(({ words }) => words);
const imageEnv = Object.fromEntries(
  wordsOf('ENV').map((word): [string, string] => {
    const [name = '', value = ''] = word.split('=');
    return [name, value];
  }),
);

describe('the image', () => {
  it('is built on one slim Node 24 image with a pinned minor version', () => {
    const images = new Set(stages.map(({ from }) => expand(from, args)));
    expect(images.size).toBe(1);
    expect([...images][0]).toMatch(/^node:24\.\d+-[a-z]+-slim$/);
  });

  it('contains only production dependencies in the versions of the lock file', () => {
    const installs = stages.flatMap(({ name, steps }) =>
      steps
        .filter(({ op, text }) => op === 'RUN' && text.startsWith('npm'))
        .map(({ text }) => [name, text]),
    );
    expect(installs).toEqual([
      ['build', 'npm ci'],
      ['build', 'npm run build'],
      ['dependencies', 'npm ci --omit=dev'],
    ]);
    const copied = stepsOf('COPY').map(({ flags, words }) => [flags.from, words[0]]);
    expect(copied.filter(([from]) => from !== undefined)).toEqual([
      ['dependencies', '/app/node_modules'],
      ['build', '/app/dist'],
    ]);
  });

  it('runs as a numeric user other than root, which owns only its volume', () => {
    expect(wordsOf('USER')).toEqual(['1000:1000']);
    expect(stepsOf('RUN').map(({ text }) => text)).toEqual([
      'mkdir /data && chown 1000:1000 /data',
    ]);
    expect(stepsOf('COPY').filter(({ flags }) => 'chown' in flags)).toEqual([]);
    expect(wordsOf('VOLUME')).toEqual(['/data']);
    expect(imageEnv).toMatchObject({ DATA_DIR: '/data' });
  });

  it('starts node directly, so that signals reach it, with the flags of `npm start`', () => {
    const flags = manifest.scripts.start.split(' ').filter((word) => word.startsWith('--'));
    expect(wordsOf('ENTRYPOINT')).toEqual(['node', ...flags, '/app/dist/main.js']);
    expect(wordsOf('CMD')).toEqual(['start']);
    expect(manifest.scripts.start).toBe(['node', ...flags, 'dist/main.js', 'start'].join(' '));
    expect(Object.values(manifest.bin)).toEqual(['dist/main.js']);
  });

  it('listens on every address and therefore does not start without keys', () => {
    expect(imageEnv).toEqual({
      NODE_ENV: 'production',
      HOST: '0.0.0.0',
      PORT: '3000',
      DATA_DIR: '/data',
    });
    expect(wordsOf('EXPOSE')).toEqual([imageEnv.PORT]);
    const key = { KLAVIYO_API_KEY: 'pk_1' };
    expect(() => loadConfig({ ...imageEnv, ...key })).toThrow('RELAY_API_KEYS');
    expect(loadConfig({ ...imageEnv, ...key, RELAY_API_KEYS: 'long enough' }).PORT).toBe(3000);
  });

  it('has the description of package.json', () => {
    expect(wordsOf('LABEL')).toContain(
      `org.opencontainers.image.description=${manifest.description}`,
    );
  });
});

describe("the image's health check", () => {
  const closers: (() => Promise<unknown>)[] = [];
  afterEach(async () => {
    await Promise.all(closers.splice(0).map((close) => close()));
  });

  const listen = async (status: number): Promise<{ port: number; requestedPaths: string[] }> => {
    const requestedPaths: string[] = [];
    const server = createServer((request, response) => {
      requestedPaths.push(request.url ?? '');
      response.writeHead(status, { connection: 'close' }).end();
    }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    closers.push(() => once(server.close(), 'close'));
    const address = server.address();
    return { port: typeof address === 'object' ? (address?.port ?? 0) : 0, requestedPaths };
  };
  const check = async (port: number): Promise<number> => {
    const [, ...words] = wordsOf('HEALTHCHECK');
    try {
      await promisify(execFile)(process.execPath, words, { env: { PORT: String(port) } });
      return 0;
    } catch (error) {
      return z.object({ code: z.number() }).parse(error).code;
    }
  };

  it('passes while /livez answers 200', async () => {
    const { port, requestedPaths } = await listen(200);
    expect(await check(port)).toBe(0);
    expect(requestedPaths).toEqual(['/livez']);
  });

  it('fails if /livez answers 503 and if nothing listens', async () => {
    const { port } = await listen(503);
    expect(await check(port)).toBe(1);
    await Promise.all(closers.splice(0).map((close) => close()));
    expect(await check(port)).toBe(1);
  });
});

describe('the build context', () => {
  const isIgnored = parseIgnore(read('.dockerignore'));

  it('contains every path that the Dockerfile copies', () => {
    const copied = stages
      .flatMap(({ steps }) => steps)
      .filter(({ op, flags }) => op === 'COPY' && flags.from === undefined)
      .flatMap(({ words }) => words.slice(0, -1));
    expect(copied).toContain('package-lock.json');
    expect(copied.filter((path) => isIgnored(path))).toEqual([]);
  });

  it('contains no secrets, no Git history and no local build output', () => {
    const kept = ['.env', '.git', 'node_modules', 'data', 'dist', 'test', '.env.local'];
    expect(kept.filter((path) => !isIgnored(path))).toEqual([]);
  });
});

describe('the reader of Dockerfile and .dockerignore', () => {
  it('throws for instructions that it does not support', () => {
    expect(() => parseDockerfile('FROM a AS b\nONBUILD RUN true')).toThrow('not understood');
    expect(() => parseDockerfile('FROM a AS b\nCOPY --chmod=755 a b')).toThrow('not understood');
    expect(() => parseDockerfile('FROM a AS b\nCMD node main.js')).toThrow('not understood');
    expect(() => expand('node:${NONE}', {})).toThrow('there is no NONE');
    expect(() => parseIgnore('**/*.log')).toThrow('not understood');
  });

  it('joins continued lines, drops comments in them and splits at blanks outside quotes', () => {
    const text = 'FROM a AS b\nLABEL x="1 2" \\\n# why\n  y=3\nRUN one && \\\n  two';
    const [stage] = parseDockerfile(text).stages;
    expect(stage?.name).toBe('b');
    expect(stage?.steps.map(({ words }) => words)).toEqual([
      ['x=1 2', 'y=3'],
      ['one', '&&', 'two'],
    ]);
  });

  it('applies the last matching line of a .dockerignore', () => {
    const isIgnored = parseIgnore('*\n!src\nsrc/*.log');
    expect(['a', 'src', 'src/a.ts', 'src/a.log'].map((path) => isIgnored(path))).toEqual([
      true,
      false,
      false,
      true,
    ]);
  });
});

const service = z.looseObject({
  build: z.literal('.'),
  read_only: z.literal(true),
  tmpfs: z.array(z.string()),
  cap_drop: z.array(z.string()),
  security_opt: z.array(z.string()),
  ports: z.array(z.string()),
  environment: z.record(z.string(), z.coerce.string()).default({}),
  command: z.array(z.string()).default([]),
  healthcheck: z.object({ test: z.array(z.string()) }).optional(),
  depends_on: z.record(z.string(), z.object({ condition: z.string() })).default({}),
  volumes: z.array(z.string()).default([]),
  stop_grace_period: z.string().optional(),
});

describe('docker-compose.yml', () => {
  const { services, volumes } = z
    .object({
      services: z.object({ relay: service, sandbox: service }),
      volumes: z.record(z.string(), z.null()),
    })
    .parse(parse(read('docker-compose.yml'), { merge: true }));
  const { relay, sandbox } = services;

  /** The relay's configuration in the container, given what is set outside of it. */
  const configure = (outside: Readonly<Record<string, string>>) =>
    loadConfig({
      ...imageEnv,
      ...Object.fromEntries(
        Object.entries(relay.environment).map(([name, text]) => [name, interpolate(text, outside)]),
      ),
    });

  it.each([relay, sandbox])(
    'hardens each container and publishes ports on loopback only',
    (each) => {
      expect(each.cap_drop).toEqual(['ALL']);
      expect(each.security_opt).toEqual(['no-new-privileges:true']);
      expect(each.tmpfs).toEqual(['/tmp']);
      expect(each.ports).toHaveLength(1);
      expect(each.ports[0]).toMatch(/^127\.0\.0\.1:/);
    },
  );

  it('starts the relay with the sandbox without any setting', () => {
    const config = configure({});
    expect(config.KLAVIYO_BASE_URL).toBe('http://sandbox:4000');
    const listening = ['sandbox', '--host', '0.0.0.0', '--port', '4000'];
    // The sandbox rejects other names in the Host header.
    expect(sandbox.command).toEqual([...listening, '--allow-host', 'sandbox']);
    expect(interpolate(relay.ports[0] ?? '', {})).toBe(`127.0.0.1:3000:${config.PORT}`);
    expect(interpolate(sandbox.ports[0] ?? '', {})).toBe('127.0.0.1:4000:4000');
  });

  it('switches to the real Klaviyo by its URL and a key', () => {
    const config = configure({
      KLAVIYO_BASE_URL: 'https://a.klaviyo.com',
      KLAVIYO_API_KEY: 'pk_real',
    });
    expect(config).toMatchObject({
      KLAVIYO_BASE_URL: 'https://a.klaviyo.com',
      KLAVIYO_API_KEY: 'pk_real',
    });
  });

  it('keeps port and folder in the container for any PORT outside', () => {
    expect(configure({ PORT: '8080' }).PORT).toBe(3000);
    expect(interpolate(relay.ports[0] ?? '', { PORT: '8080' })).toBe('127.0.0.1:8080:3000');
    const [volume = '', folder = ''] = relay.volumes[0]?.split(':') ?? [];
    expect(Object.keys(volumes)).toContain(volume);
    expect(folder).toBe(relay.environment.DATA_DIR);
  });

  it('makes the relay wait for the sandbox and leaves it time to drain before it is killed', () => {
    expect(relay.depends_on).toEqual({ sandbox: { condition: 'service_healthy' } });
    expect(sandbox.healthcheck?.test.join(' ')).toContain('http://127.0.0.1:4000/');
    const drainMs = settingsSchema.shape.SHUTDOWN_TIMEOUT_MS.parse(undefined);
    expect(parseInt(relay.stop_grace_period ?? '', 10) * 1000).toBeGreaterThan(drainMs + 2000);
  });
});

describe('the command klaviyo-relay', () => {
  it('runs as `npx klaviyo-relay` in a built checkout, as in the README', async () => {
    expect(read('README.md')).toContain('npx klaviyo-relay check ');
    const { stdout } = await promisify(execFile)('npx', ['--no', 'klaviyo-relay', 'help'], {
      cwd: root,
    });
    expect(stdout).toMatch(/^klaviyo-relay \d/);
  });
});

describe('the CI files', () => {
  const step = z.object({ uses: z.string().optional(), run: z.string().optional() });
  const workflow = z.object({
    permissions: z.record(z.string(), z.string()),
    jobs: z.record(z.string(), z.object({ steps: z.array(step) })),
  });

  it.each(['ci', 'release'])(
    'include the workflow %s, which may only read by default and pins each action by digest',
    (name) => {
      const text = read(`.github/workflows/${name}.yml`);
      expect(workflow.parse(parse(text)).permissions).toEqual({ contents: 'read' });
      const uses = text.split('\n').filter((line) => /\buses:/.test(line));
      expect(uses.length).toBeGreaterThan(0);
      for (const line of uses) expect(line).toMatch(/@[0-9a-f]{40} # v\d+\.\d+\.\d+$/);
    },
  );

  it('include a workflow that runs .ci/run', () => {
    const { jobs } = workflow.parse(parse(read('.github/workflows/ci.yml')));
    const steps = Object.values(jobs).flatMap((job) => job.steps);
    expect(steps.map(({ run }) => run)).toContain('.ci/run');
  });

  it.each(['.ci/run', 'scripts/dockerfile-steps.sh', 'scripts/test-tools.sh'])(
    'include %s, an executable script in strict mode',
    (path) => {
      expect(statSync(new URL(path, root)).mode & 0o111).toBe(0o111);
      expect(read(path)).toMatch(/^#!\/usr\/bin\/env bash\n[^]*\nset -euo pipefail\n/);
      expect(spawnSync('bash', ['-n', path], { cwd: root, encoding: 'utf8' }).stderr).toBe('');
    },
  );
});
