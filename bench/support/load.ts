import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { key, pinned, type Cores, type Program } from './program.js';

const run = promisify(execFile);
const script = new URL('orders.lua', import.meta.url).pathname;
let runs = 0;

export type Load = {
  readonly kind: 'event' | 'events' | 'ndjson' | 'profiles';
  readonly perRequest?: number;
  readonly connections?: number;
  readonly seconds: number;
  /** Mean pause of a connection between an answer and its next request, ms. */
  readonly delayMs?: number;
  /** Bytes added to each event. */
  readonly padBytes?: number;
  /** Part of the profiles that are of 50 people, over and over. */
  readonly repeated?: number;
  /** Different people that events are about. */
  readonly people?: number;
  readonly cores?: Cores;
};

/** As wrk tells it. */
export type Loaded = {
  readonly requests: number;
  readonly seconds: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
};

export const defaultConnections = 64;

/** Requests a second. */
export const toRate = ({ requests, seconds }: Loaded): number => requests / seconds;

/** Posts as fast as it is answered, or at the pace of `delayMs`. Throws where anything was refused. */
export async function post(program: Program, load: Load): Promise<Loaded> {
  const {
    kind,
    perRequest = 1,
    connections = defaultConnections,
    seconds,
    delayMs = 0,
    cores = 'load',
  } = load;
  const wrk = ['wrk', '-t', '1', '-c', `${connections}`, '-d', `${seconds}s`, '--timeout', '30s'];
  const { padBytes = 0, repeated = 0, people = 100_003 } = load;
  const args = [
    `r${process.pid}x${runs++}`,
    kind,
    perRequest,
    key,
    delayMs,
    padBytes,
    repeated,
    people,
  ];
  const [command, all] = pinned(cores, [
    ...wrk,
    '-s',
    script,
    program.url,
    '--',
    ...args.map(String),
  ]);
  const { stdout } = await run(command, all);
  const line = stdout.trim().split('\n').at(-1) ?? '';
  const { failed, ...loaded } = JSON.parse(line) as Loaded & { failed: number };
  if (failed > 0) throw new Error(`${failed} of ${loaded.requests} requests failed`);
  return loaded;
}

/** To all of them at once, each with its part of the connections. */
export function postAll(programs: readonly Program[], load: Load): Promise<readonly Loaded[]> {
  const connections = Math.floor((load.connections ?? defaultConnections) / programs.length);
  return Promise.all(programs.map((each) => post(each, { ...load, connections })));
}
