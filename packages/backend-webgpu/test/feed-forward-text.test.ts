import { expect, test } from 'vitest';
import { gatherKernel } from '../src/feed-forward/gather.js';
import { productKernel } from '../src/feed-forward/product.js';
import { selectKernel } from '../src/feed-forward/select.js';
import { packKernel } from '../src/feed-forward/tensor/split.js';
import { SPLIT_TILE, splitProductKernel } from '../src/feed-forward/tensor/split-product.js';

const texts = {
  'product, small tile, turned operands, single elements': productKernel({
    transposeA: true,
    transposeB: true,
    vectorA: false,
    vectorB: false,
    vectorOut: false,
    bias: false,
    accumulate: true,
    finiteB: true,
    tile: 'small',
  }),
  'selection by contribution, gated, dense': selectKernel({
    activation: 'silu',
    gated: true,
    isContribution: true,
    isDense: true,
    saves: true,
    isVector: true,
  }),
  'selection by pre-activation': selectKernel({
    activation: 'relu',
    gated: false,
    isContribution: false,
    isDense: false,
    saves: false,
    isVector: false,
  }),
  'gather with a bias': gatherKernel({
    isVector: true,
    hasVectorLists: true,
    bias: true,
    accumulate: false,
    isRepair: false,
    isSpread: false,
    lanes: 16,
  }),
  'split of columns': packKernel(true),
  'split product': splitProductKernel({ ...SPLIT_TILE, rowBlocks: 1, columnBlocks: 1 }, true),
};

test.each(Object.entries(texts))('feed-forward shader text: %s', (_, kernel) => {
  expect(kernel.source()).toMatchSnapshot();
});
