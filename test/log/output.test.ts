import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, constants, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { systemClock } from '../../src/clock.js';
import { openOutput } from '../../src/log/output.js';

let directory: string;
let closers: (() => unknown)[];

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'relay-output-'));
  closers = [() => rmSync(directory, { recursive: true })];
});

afterEach(() => {
  for (const close of closers.reverse()) close();
});

/** Both ends of a pipe that nobody reads yet. */
function openPipe() {
  const path = join(directory, 'pipe');
  execFileSync('mkfifo', [path]);
  const { O_RDWR, O_NONBLOCK } = constants;
  const reader = new Socket({ fd: openSync(path, O_RDWR | O_NONBLOCK), writable: false });
  const fd = openSync(path, O_RDWR | O_NONBLOCK);
  const writer = new Socket({ fd, readable: false });
  reader.pause();
  closers.push(
    () => reader.destroy(),
    () => writer.destroy(),
  );
  return { reader, writer, fd };
}

function openFile(path: string) {
  const fd = openSync(path, 'w');
  closers.push(() => closeSync(fd));
  return openOutput({ fd, stream: new PassThrough(), clock: systemClock });
}

const line = `${'x'.repeat(999)}\n`;

describe('an output', () => {
  it('writes to a file in order', async () => {
    const path = join(directory, 'log');
    const output = openFile(path);
    const lines = Array.from({ length: 1000 }, (_, number) => `${number}\n`);
    for (const each of lines) output.write(each);
    expect(await output.flush(10_000)).toBe(true);
    expect(readFileSync(path, 'utf8')).toBe(lines.join(''));
    expect(output.dropped()).toBe(0);
  });

  it('counts each line that a full volume rejects, and continues', async () => {
    const output = openFile('/dev/full');
    output.write(line);
    output.write(line);
    await output.flush(10_000);
    output.write(line);
    expect(await output.flush(10_000)).toBe(true);
    expect(output.dropped()).toBe(3);
  });

  it('begins a new line after a partly written one, and counts only that one', () => {
    const path = join(directory, 'log');
    // In a process of its own: the limit on the size of files holds for all of it.
    const code = `
      import { execFileSync } from 'node:child_process';
      import { openSync } from 'node:fs';
      import { PassThrough } from 'node:stream';
      import { openOutput } from ${JSON.stringify(new URL('../../dist/log/output.js', import.meta.url).href)};
      import { systemClock as clock } from ${JSON.stringify(new URL('../../dist/clock.js', import.meta.url).href)};
      process.on('SIGXFSZ', () => undefined);
      const limit = (bytes) =>
        execFileSync('prlimit', ['--pid', String(process.pid), '--fsize=' + bytes + ':']);
      const output = openOutput({ fd: openSync(${JSON.stringify(path)}, 'a'), stream: new PassThrough(), clock });
      limit(1500);
      for (const each of ['a', 'b', 'c']) {
        output.write(each.repeat(999) + '\\n');
        await output.flush(10000);
      }
      limit('unlimited');
      for (const each of ['d', 'e']) {
        output.write(each + '\\n');
        await output.flush(10000);
      }
      process.stdout.write(String(output.dropped()));`;
    const dropped = execFileSync(process.execPath, ['--input-type=module', '-e', code]);
    expect(String(dropped)).toBe('2');
    expect(readFileSync(path, 'utf8')).toBe(`${'a'.repeat(999)}\n${'b'.repeat(500)}\nd\ne\n`);
  });

  it('never waits for a reader that does not read: it keeps a bounded number of bytes and drops the rest', async () => {
    const { writer, fd } = openPipe();
    const output = openOutput({ fd, stream: writer, clock: systemClock, maxQueuedBytes: 200_000 });
    for (let number = 0; number < 1000; number++) output.write(line);
    expect(await output.flush(10)).toBe(false);
    for (let number = 0; number < 1000; number++) output.write(line);
    // One line and the first 200 are under way, 200 more wait.
    expect(output.dropped()).toBe(2000 - 401);
    expect(output.holdsThread()).toBe(false);
  });

  it('writes what it kept once the reader continues, and reports how many lines it dropped', async () => {
    const { reader, writer, fd } = openPipe();
    const output = openOutput({ fd, stream: writer, clock: systemClock, maxQueuedBytes: 200_000 });
    let reported = 0;
    output.onResumed((count) => {
      reported += count;
      output.write(`${count} were dropped\n`);
    });
    for (let number = 0; number < 500; number++) output.write(line);
    expect(await output.flush(10)).toBe(false);
    for (let number = 0; number < 500; number++) output.write(line);
    let read = '';
    reader.on('data', (part) => (read += String(part)));
    reader.resume();
    while (reported < output.dropped()) await once(reader, 'data');
    expect(await output.flush(10_000)).toBe(true);
    expect(output.dropped()).toBeGreaterThan(500);
    expect(reported).toBe(output.dropped());
    while (!read.endsWith('were dropped\n')) await once(reader, 'data');
    expect(read.split('\n').filter((each) => each === line.trim())).toHaveLength(
      1000 - output.dropped(),
    );
  });
});
