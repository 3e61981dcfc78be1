import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { beforeAll, expect, test } from 'vitest';
import { generateRows } from '../../src/sources/generate.js';
import { generateInThreads } from '../../src/sources/generate-in-threads.js';
import { temporaryFolder } from '../support/command-line.js';

const folder = temporaryFolder();
const bundleFolder = join(folder, 'bundle');
const worker = pathToFileURL(join(bundleFolder, 'rows-worker.js'));

// Threads run JavaScript files: those of the bundle for machines with nothing but Node.
beforeAll(() => {
  const script = fileURLToPath(new URL('../../schedulers/gpu-bundle.mjs', import.meta.url));
  const { status, stderr } = spawnSync(process.execPath, [script, '--out', bundleFolder], {
    encoding: 'utf8',
  });
  expect({ status, stderr }).toMatchObject({ status: 0 });
}, 300_000);

test('rows of several threads are the rows of one', async () => {
  const options = { seed: 3, from: 7, count: 1250 };
  const seen: number[] = [];
  const made = await generateInThreads('listops', 'validation', {
    ...options,
    ...{ threads: 2, worker, onProgress: (done) => seen.push(done) },
  });
  const expected = await generateRows('listops', 'validation', options);
  expect(made.hash).toBe(expected.hash);
  expect(made.length).toBe(1250);
  expect(seen.length).toBe(3);
  expect(seen.at(-1)).toBe(1250);
});

test('the program of the bundle makes the rows of any number of threads', () => {
  const hashOf = (threads: string): string => {
    const args = `generate listops --train 600 --validation 3 --test 3 --json --threads ${threads}`.split(
      ' ',
    );
    const program = join(bundleFolder, 'lra.mjs');
    const { stdout } = spawnSync(process.execPath, [program, ...args, '--out', join(folder, threads)]);
    return JSON.parse(stdout.toString()).hash;
  };
  expect(hashOf('2')).toBe(hashOf('1'));
});

test('an aborted call ends with the reason, and a broken thread with its error', async () => {
  const aborted = new AbortController();
  const reason = new Error('enough');
  const call = generateInThreads('listops', 'train', {
    ...{ seed: 1, count: 100_000, threads: 2, worker, signal: aborted.signal },
    onProgress: () => aborted.abort(reason),
  });
  await expect(call).rejects.toBe(reason);
  const broken = join(folder, 'broken.mjs');
  writeFileSync(broken, "throw new Error('no such luck');\n");
  const failed = generateInThreads('listops', 'train', {
    ...{ seed: 1, count: 2000, threads: 2, worker: pathToFileURL(broken) },
  });
  await expect(failed).rejects.toThrow('no such luck');
});
