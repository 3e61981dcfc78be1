import { execFile } from 'node:child_process';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { optional } from '@topk-attention/vitest-preset';
import { describe, expect } from 'vitest';
import { bundle } from '../support/bundle.js';

const child = await bundle('engine-child.mjs');
const posix = {
  need: 'linux',
  available: process.platform === 'linux',
  reason: 'where the engine keeps its files is known for Linux',
};

/** Files that a process leaves in its home, cache and temporary folders. */
async function filesLeftBy(task: string, options: object): Promise<readonly string[]> {
  const folder = await mkdtemp(join(tmpdir(), 'topk-telemetry-'));
  try {
    await promisify(execFile)(process.execPath, [child, JSON.stringify([task, options])], {
      // Nothing else: the engine sends nothing by itself where a variable tells of continuous integration.
      env: { PATH: process.env.PATH, HOME: folder, XDG_CACHE_HOME: folder, TMPDIR: folder },
    });
    return await readdir(folder, { recursive: true });
  } finally {
    await rm(folder, { recursive: true });
  }
}

describe('usage data of the engine', () => {
  const nothing = [
    ['a module imported here', 'imported', {}],
    ['a module of the caller', 'given', { telemetry: false }],
    ['a provider that is tried first', 'imported', { executionProviders: ['cpu'] }],
    ['doctor', 'doctor', {}],
  ] as const;
  for (const [name, task, options] of nothing) {
    optional(`nothing is written: ${name}`, posix, async () => {
      expect(await filesLeftBy(task, options)).toEqual([]);
    });
  }

  optional('it is on where the caller asks for it: this is what the others would show', posix, async () => {
    const files = await filesLeftBy('imported', { telemetry: true });
    expect(files.some((file) => file.endsWith('onnxruntime.db'))).toBe(true);
    expect(files.some((file) => /^mat-debug-\d+\.log$/.test(file))).toBe(true);
  });
});
