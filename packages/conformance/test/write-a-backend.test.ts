import { readFile } from 'node:fs/promises';
import { explain, neg, tensor } from '@topk-attention/core';
import { expect, test } from 'vitest';
import { conformanceCases, describeConformance } from '../src/index.js';
import { createArrayBackend } from './example/array-backend.js';
import { withFusedAttention } from './example/array-fused.js';
import { withStubs } from './example/stubs.js';

const page = await readFile(new URL('../../../docs/write-a-backend.md', import.meta.url), 'utf8');

/** The blocks of the page that belong to a file, put together. */
function blocksOf(file: string): string {
  const fence = new RegExp(
    `^\`\`\`ts no-run: part of ${file.replaceAll('.', '\\.')}\n(.*?)\n^\`\`\`$`,
    'gms',
  );
  return `${Array.from(page.matchAll(fence), ([, code]) => code).join('\n\n')}\n`;
}

test.each(['array-backend.ts', 'array-fused.ts', 'stubs.ts'])(
  'the blocks of docs/write-a-backend.md, put together, are the %s that is tested here',
  async (file) => {
    const code = await readFile(new URL(`example/${file}`, import.meta.url), 'utf8');
    expect(blocksOf(file)).toBe(code);
  },
);

test('the page declares the suite as this file does', async () => {
  expect(blocksOf('array-backend.test.ts')).toContain(
    "await describeConformance({ name: 'array', createBackend: createArrayBackend });",
  );
});

await describeConformance({ name: 'array', createBackend: createArrayBackend });

/** These operations are composed above and here alike. */
const others = /^(Toeplitz product|linear attention|graph attention)/;
const attention = (await conformanceCases()).filter(
  ({ group, name }) => ['attention', 'goldens', 'gradients'].includes(group) && !others.test(name),
);
await describeConformance({
  name: 'array, fused attention',
  createBackend: () => withFusedAttention(createArrayBackend()),
  cases: attention,
});

test('the fused attention runs what it does not refuse, and says why not the rest', () => {
  const backend = withFusedAttention(createArrayBackend());
  const shape = [1, 1, 4, 2];
  const shapes = { q: shape, k: shape, v: shape };
  expect(explain(backend, shapes, { causal: true }).path).toBe('fused');
  expect(explain(backend, shapes, { k: 2 }).paths[0]?.refusals).toEqual(['it has no selection']);
});

test('a part of a backend runs a part of the suite', async () => {
  const { name, capabilities, upload, read, release } = createArrayBackend();
  const backend = withStubs({ name, capabilities, upload, read, release });
  expect(Array.from(await tensor(backend, [1, 2]).data())).toEqual([1, 2]);
  await expect(neg(tensor(backend, [1])).data()).rejects.toThrow(/unary is not written yet/);
});
