import { expect, test } from 'vitest';
import { keysPlainKernel, piecesPlainKernel } from '../src/attention/backward/gather/gather-plain.js';
import { keysSubgroupKernel } from '../src/attention/backward/gather/gather-subgroups.js';
import { scatterKeysKernel } from '../src/attention/backward/partition/scatter-keys.js';
import { scatterTilesKernel } from '../src/attention/backward/partition/scatter-tiles.js';
import { scatterTilesStagedKernel } from '../src/attention/backward/partition/scatter-tiles-staged.js';
import { rowsPlainKernel } from '../src/attention/backward/rows/rows-plain.js';
import { rowsSubgroupKernel } from '../src/attention/backward/rows/rows-subgroups.js';

const usual = { headDim: 64, valueDim: 64, layout: { width: 4, half: false } } as const;
const odd = { headDim: 5, valueDim: 3, layout: { width: 1, half: true } } as const;

const kernels = [
  rowsPlainKernel({ ...odd, dropout: true }),
  rowsSubgroupKernel({ ...usual, dropout: false }, 128),
  scatterTilesKernel(7),
  scatterTilesStagedKernel(7, 128, 1024, 128),
  scatterKeysKernel(7, 2048),
  piecesPlainKernel(odd),
  keysPlainKernel(usual),
  keysSubgroupKernel(usual),
];

for (const kernel of kernels) {
  test(`shader text: ${kernel.key}`, async () => {
    await expect(kernel.source()).toMatchFileSnapshot(
      `__snapshots__/backward/${kernel.key.replace('attention-backward ', '').replaceAll(' ', '-')}.wgsl`,
    );
  });
}

test('keys name the shader: equal keys, equal text', () => {
  const texts = new Map(kernels.map((kernel) => [kernel.key, kernel.source()]));
  expect(texts.size).toBe(kernels.length);
  expect(new Set(texts.values()).size).toBe(kernels.length);
});
