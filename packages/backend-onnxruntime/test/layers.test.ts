import { readdir, readFile } from 'node:fs/promises';
import { expect, test } from 'vitest';

const root = new URL('../src/', import.meta.url);

/** Folders that know neither the engine nor the backend: the folders and packages that each may import. */
const allowed: { readonly [folder: string]: readonly string[] } = {
  onnx: ['onnx/', '@topk-attention/core', '@topk-attention/core/backend', 'protobufjs/minimal.js'],
  emit: ['emit/', 'onnx/', '@topk-attention/core', '@topk-attention/core/backend'],
};

test.each(Object.entries(allowed))('%s imports neither engine nor backend', async (folder, targets) => {
  const base = new URL(`${folder}/`, root);
  const files = (await readdir(base, { recursive: true })).filter((file) => file.endsWith('.ts'));
  expect(files.length).toBeGreaterThan(3);
  for (const file of files) {
    const place = new URL(file.replaceAll('\\', '/'), base);
    const code = await readFile(place, 'utf8');
    for (const [, specifier = ''] of code.matchAll(/(?:from|import\()\s*'([^']+)'/g)) {
      const target = specifier.startsWith('.')
        ? new URL(specifier, place).href.slice(root.href.length)
        : specifier;
      const isAllowed = targets.some((one) => (one.endsWith('/') ? target.startsWith(one) : target === one));
      expect(isAllowed, `${folder}/${file} imports ${specifier}`).toBe(true);
    }
  }
});
