// Builds the stages of the Dockerfile without a Docker engine, then starts the result and checks it.
// scripts/dockerfile-steps.sh runs this script. The relay listens on loopback instead of the image's HOST.
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import * as fs from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import { buildStages, run, toSpawn } from './dockerfile-build.js';

/** @typedef {import('./dockerfile-build.js').Built} Built */
/** @typedef {import('./dockerfile.js').Variables} Variables */

const startLimitMs = 20_000;
const stopLimitMs = 10_000;

/** @param {Built} image */
async function tryOut(image) {
  const command = [...image.entrypoint, ...image.command];
  const settings = { ...image.env, KLAVIYO_API_KEY: 'pk_nobody', LOG_LEVEL: 'warn' };
  if (fs.existsSync(join(image.root, image.workdir, 'node_modules/typescript'))) {
    throw new Error('the image contains development dependencies');
  }
  // Like `docker run --read-only`: only the volume is writable.
  run({ ...image, user: '0:0' }, ['chmod', '-R', 'a-w', image.workdir], {});

  const refusal = run(image, command, settings);
  if (refusal.status !== 1 || !refusal.output.includes('RELAY_API_KEYS')) {
    throw new Error(
      `the relay must not start without RELAY_API_KEYS, but it responded: ${refusal.output}`,
    );
  }
  console.log('the relay does not start without RELAY_API_KEYS');

  await startAndStop(image, command, {
    ...settings,
    HOST: '127.0.0.1',
    PORT: String(await findFreePort()),
    RELAY_API_KEYS: 'dockerfile-steps',
    // The relay must not reach Klaviyo; no process listens on this port.
    KLAVIYO_BASE_URL: 'http://127.0.0.1:9',
  });
}

/**
 * @param {Built} image
 * @param {readonly string[]} command
 * @param {Variables} env
 */
async function startAndStop(image, command, env) {
  const { file, args, options } = toSpawn(image, command, env);
  const child = spawn(file, args, { ...options, stdio: ['ignore', 'inherit', 'inherit'] });
  const ended = once(child, 'exit');
  const isRunning = () => child.exitCode === null && child.signalCode === null;
  try {
    await untilHealthy(image, env, isRunning);
    const answer = await fetch(`http://127.0.0.1:${env.PORT ?? ''}/livez`);
    console.log(`the health check passes; /livez responds with ${String(answer.status)}`);
    if (!answer.ok) throw new Error('/livez does not respond with 200');
    const start = performance.now();
    child.kill('SIGTERM');
    await Promise.race([ended, sleep(stopLimitMs, undefined, { ref: false })]);
    const code = child.exitCode ?? child.signalCode ?? 'none';
    if (code !== 0)
      throw new Error(`after SIGTERM the exit code must be 0, but it is ${String(code)}`);
    console.log(
      `SIGTERM ends the relay: exit code 0, ${(performance.now() - start).toFixed(0)} ms`,
    );
  } finally {
    if (isRunning()) child.kill('SIGKILL');
  }
}

/**
 * @param {Built} image
 * @param {Variables} env
 * @param {() => boolean} isRunning
 */
async function untilHealthy(image, env, isRunning) {
  const until = performance.now() + startLimitMs;
  for (;;) {
    const { status, output } = run(image, image.health, env);
    if (status === 0) return;
    // Gives the exit event of the child a turn.
    await sleep(100);
    if (!isRunning()) throw new Error('the relay ended by itself');
    if (performance.now() > until)
      throw new Error(`the health check failed for too long\n${output}`);
  }
}

/** @returns {Promise<number>} */
async function findFreePort() {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  if (address === null || typeof address === 'string') throw new Error('no port');
  return address.port;
}

const tmp = fs.mkdtempSync(join(tmpdir(), 'dockerfile-steps-'));
try {
  // The user of the image needs access to the folder.
  fs.chmodSync(tmp, 0o755);
  await tryOut(buildStages(tmp));
} catch (error) {
  console.error(`dockerfile-steps: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 1;
} finally {
  // Without root, a read-only folder cannot be emptied.
  spawnSync('chmod', ['-R', 'u+w', tmp]);
  fs.rmSync(tmp, { recursive: true, force: true });
}
