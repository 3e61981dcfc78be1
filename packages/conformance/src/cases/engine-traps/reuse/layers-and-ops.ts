import type { Tensor } from '@topk-attention/core';
import * as ops from '@topk-attention/core';
import type { ConformanceCase } from '../../../harness/case.js';
import { type Nd, nd } from '../../../harness/support/nd.js';
import { Random } from '../../../harness/support/random.js';
import { gradientsOf, reuse, type Step, type Tensors } from './in-a-row.js';

const random = new Random('reuse of layers');
const whole = (...shape: number[]): Nd => random.integers(shape, -3, 3);

const layer = { x: whole(5, 6), wIn: whole(6, 12), wOut: whole(12, 6), gate: whole(6, 12) };

const feed =
  (
    options: ops.FeedForwardOptions,
    weights: (xs: Tensors) => { wIn: Tensor; wOut: Tensor; wGate?: Tensor } = ({ wIn, wOut }) => ({
      wIn: wIn as Tensor,
      wOut: wOut as Tensor,
    }),
  ): Step =>
  (xs) =>
    ops.topKFeedForward(xs.x as Tensor, weights(xs), options);

export const reuseOfLayersAndOps: readonly ConformanceCase[] = [
  reuse('feed-forward weights in other roles, shapes and rankings', layer, {
    preactivation: feed({ k: 3 }),
    contribution: feed({ k: 3, select: 'contribution' }),
    'contribution, gelu': feed({ k: 3, select: 'contribution', activation: 'gelu' }),
    'other k': feed({ k: 5, select: 'contribution' }),
    'other chunk': feed({ k: 3, select: 'contribution', tokenChunk: 2 }),
    gated: feed({ k: 3, select: 'contribution' }, ({ wIn, wOut, gate }) => ({
      wIn: wIn as Tensor,
      wOut: wOut as Tensor,
      wGate: gate as Tensor,
    })),
    'gate and input swapped': feed({ k: 3 }, ({ wIn, wOut, gate }) => ({
      wIn: gate as Tensor,
      wOut: wOut as Tensor,
      wGate: wIn as Tensor,
    })),
    'input weights as output weights': feed({ k: 3, select: 'contribution' }, ({ wIn, wOut }) => ({
      wIn: ops.reshape(wOut as Tensor, [6, 12]),
      wOut: ops.reshape(wIn as Tensor, [12, 6]),
    })),
    'output weights in another shape': feed({ k: 3, select: 'contribution' }, ({ wIn, wOut }) => ({
      wIn: ops.reshape(ops.slice(wIn as Tensor, [0, 0], [6, 8]), [6, 8]),
      wOut: ops.reshape(wOut as Tensor, [8, 9]),
    })),
    'gradients, contribution': gradientsOf((xs) => feed({ k: 3, select: 'contribution' })(xs)),
  }),
  reuse(
    'ops of one structure with other constants',
    { x: whole(4, 6), y: whole(4, 6), 'indices of rows': nd([1, 3], (_, at) => [2, -1, 0][at] as number) },
    {
      'plus 1': ({ x }) => ops.add(x as Tensor, 1),
      'plus 2': ({ x }) => ops.add(x as Tensor, 2),
      'minus from 2': ({ x }) => ops.sub(2, x as Tensor),
      'slice at 0': ({ x }) => ops.slice(x as Tensor, [0, 0], [2, 3]),
      'slice at 1': ({ x }) => ops.slice(x as Tensor, [1, 2], [2, 3]),
      'sum of rows': ({ x }) => ops.sum(x as Tensor, { axes: [1], keepDims: true }),
      'sum of columns': ({ x }) => ops.sum(x as Tensor, { axes: [0], keepDims: true }),
      'largest of rows': ({ x }) => ops.maxOver(x as Tensor, { axes: [1], keepDims: true }),
      'top 2': ({ x }) => ops.topK(x as Tensor, 2).values,
      'top 3': ({ x }) => ops.topK(x as Tensor, 3).values,
      'x, y': ({ x, y }) => ops.concat([x as Tensor, y as Tensor], 0),
      'y, x': ({ x, y }) => ops.concat([y as Tensor, x as Tensor], 0),
      'beside each other': ({ x, y }) => ops.concat([x as Tensor, y as Tensor], 1),
      'x - y': ({ x, y }) => ops.sub(x as Tensor, y as Tensor),
      'y - x': ({ x, y }) => ops.sub(y as Tensor, x as Tensor),
      'x - x': ({ x }) => ops.sub(x as Tensor, x as Tensor),
      transposed: ({ x }) => ops.transpose(ops.reshape(x as Tensor, [2, 3, 4]), [1, 0, 2]),
      'transposed otherwise': ({ x }) => ops.transpose(ops.reshape(x as Tensor, [2, 3, 4]), [2, 0, 1]),
      'four rows': ({ x, ...xs }) =>
        ops.gatherRows(ops.reshape(x as Tensor, [1, 4, 6]), xs['indices of rows'] as Tensor),
      'six rows': ({ x, ...xs }) =>
        ops.gatherRows(ops.reshape(x as Tensor, [1, 6, 4]), xs['indices of rows'] as Tensor),
      'three rows of 8': ({ x, ...xs }) =>
        ops.scatterAddRows(5, xs['indices of rows'] as Tensor, ops.reshape(x as Tensor, [1, 3, 8])),
      'summed over four': ({ x, ...xs }) =>
        ops.scatterAddRows(4, xs['indices of rows'] as Tensor, ops.reshape(x as Tensor, [1, 3, 8])),
    },
  ),
];
