import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'vite';
import { expect, test } from 'vitest';

test('vite builds a page with one WebAssembly file of its own', async () => {
  const outDir = await mkdtemp(join(tmpdir(), 'transformers-js-'));
  try {
    await build({
      root: fileURLToPath(new URL('../', import.meta.url)),
      logLevel: 'error',
      publicDir: false,
      build: { outDir, emptyOutDir: true, minify: false, reportCompressedSize: false },
    });
    const files = await readdir(join(outDir, 'assets'));
    expect(files.filter((name) => name.endsWith('.wasm')).length).toBe(1);
    expect(files.filter((name) => name.endsWith('.js')).length).toBe(1);
  } finally {
    await rm(outDir, { recursive: true });
  }
});
