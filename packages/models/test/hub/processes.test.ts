import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { COMMIT, listed, sendFile, sha256, startHub } from '@topk-attention/vitest-preset/hub-server';
import { randomBelow } from '@topk-attention/vitest-preset/random';
import { expect, onTestFinished, test, vi } from 'vitest';

const random = randomBelow(5);
const large = Uint8Array.from({ length: 300_000 }, () => random(256));
const files = { 'model.safetensors': large };

async function folder(): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'topk-hub-'));
  onTestFinished(() => rm(path, { recursive: true, force: true }));
  return path;
}

/** A process of its own that opens one file. */
function start(cacheDir: string, endpoint: string) {
  const script = fileURLToPath(new URL('../support/hub-child.mjs', import.meta.url));
  const child = spawn(process.execPath, [script, cacheDir, endpoint], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let output = '';
  child.stdout.on('data', (text) => {
    output += text;
  });
  onTestFinished(() => void child.kill('SIGKILL'));
  return { child, done: once(child, 'close').then(() => output.trim()) };
}

test('two processes at once download once', async () => {
  const cacheDir = await folder();
  const server = await startHub(files);
  // Slow enough that the second one meets the first.
  let started = 0;
  server.fault = (asked) => {
    if (asked.kind === 'listing') {
      // Both go on at the same time.
      const wait = (): void => {
        if (started < 2) setTimeout(wait, 10);
        else
          asked.response.end(JSON.stringify({ sha: COMMIT, siblings: [listed('model.safetensors', large)] }));
      };
      started++;
      wait();
      return true;
    }
    if (asked.kind !== 'cdn') return false;
    setTimeout(() => sendFile(asked), 300);
    return true;
  };
  const both = [start(cacheDir, server.endpoint), start(cacheDir, server.endpoint)];
  expect(await Promise.all(both.map(({ done }) => done))).toEqual([sha256(large), sha256(large)]);
  expect(server.asked.filter(({ kind }) => kind === 'cdn').length).toBe(1);
});

test('a process that is killed in the middle leaves a part, and no lock that holds others up', async () => {
  const cacheDir = await folder();
  const server = await startHub(files);
  const first = start(cacheDir, server.endpoint);
  server.fault = (asked) => {
    if (asked.kind !== 'cdn') return false;
    asked.response.writeHead(200, { 'content-length': asked.body.length });
    asked.response.write(asked.body.subarray(0, 200_000));
    return true;
  };
  const part = join(cacheDir, 'models--org--name/blobs', `${sha256(large)}.js.incomplete`);
  await vi.waitFor(async () => expect((await stat(part)).size).toBe(200_000), { timeout: 60_000 });
  first.child.kill('SIGKILL');
  await first.done;
  server.fault = undefined;
  server.asked.length = 0;
  expect(await start(cacheDir, server.endpoint).done).toBe(sha256(large));
  expect(server.asked.find(({ kind }) => kind === 'cdn')?.from).toBe(200_000);
});
