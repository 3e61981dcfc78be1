import { readFileSync } from 'node:fs';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { SOURCE_CONDITION } from '@topk-attention/vitest-preset/preset';
import { build } from 'vite';
import { expect, test } from 'vitest';

test('vite builds a page and a worker that import nothing', async () => {
  const outDir = await mkdtemp(join(tmpdir(), 'train-in-the-browser-'));
  try {
    await build({
      root: fileURLToPath(new URL('../', import.meta.url)),
      logLevel: 'error',
      resolve: { conditions: [SOURCE_CONDITION, 'module', 'browser', 'import', 'default'] },
      build: { outDir, emptyOutDir: true },
    });
    const files = (await readdir(outDir, { recursive: true })).filter((name) => name.endsWith('.js'));
    expect(files.some((name) => name.includes('worker'))).toBe(true);
    for (const name of files) {
      const code = readFileSync(join(outDir, name), 'utf8');
      // Static imports. Node's modules are loaded by name, and only by what opens folders.
      expect(code.match(/\bfrom\s*["'][^."'][^"']*["']/g) ?? [], name).toEqual([]);
    }
    expect(readFileSync(join(outDir, 'index.html'), 'utf8')).toMatch(/<script type="module"[^>]* src="\.\//);
  } finally {
    await rm(outDir, { recursive: true });
  }
});
