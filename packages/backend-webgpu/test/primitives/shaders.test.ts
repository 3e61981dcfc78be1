import { type DType, elementwiseProgram, type Shape, terms } from '@topk-attention/core';
import type { FusedOperation, LinearRequest, NormRequest } from '@topk-attention/core/backend';
import { expect, test } from 'vitest';
import { limitsOf } from '../../src/limits.js';
import { MOST_COLUMNS } from '../../src/primitives/column-sums.js';
import { countsBelow } from '../../src/primitives/count-below.js';
import { crossEntropies } from '../../src/primitives/cross-entropy.js';
import { drawnEntries } from '../../src/primitives/drawn-entries.js';
import { recordBinary } from '../../src/primitives/elementwise.js';
import { elementwisePrograms } from '../../src/primitives/elementwise-program.js';
import { entmaxes, entmaxGradients } from '../../src/primitives/entmax.js';
import { graphProducts, transposedGraphProducts } from '../../src/primitives/graph-product.js';
import { linearLayers } from '../../src/primitives/linear.js';
import { linearGradients } from '../../src/primitives/linear-gradient.js';
import { recordMatmul } from '../../src/primitives/matmul.js';
import { normGradients, norms } from '../../src/primitives/norm.js';
import { recordReduce } from '../../src/primitives/reduce.js';
import { recordScatterAddRows } from '../../src/primitives/scatter-add-rows.js';
import { recordSoftmax } from '../../src/primitives/softmax.js';
import { sumsOfSquares } from '../../src/primitives/sum-squares.js';
import { recordTopK } from '../../src/primitives/top-k.js';
import type { Kernel } from '../../src/runtime/kernel.js';
import type { View } from '../../src/runtime/view.js';
import { Storage, WebGpuTensor } from '../../src/tensor.js';
import { kernelsOf, PLAIN, SUBGROUPS } from '../support/recording.js';

const tensorOf = ({ span, shape, dtype }: View): WebGpuTensor =>
  new WebGpuTensor(new Storage(span, span.size), shape, dtype);

/** Runs a request of an operation, which must take it. */
function runWith<Request, Inputs>(
  operation: FusedOperation<Request, Inputs, object>,
  request: Request,
  inputs: Inputs,
): void {
  const prepared = operation.prepare(request, limitsOf(PLAIN));
  if ('refusals' in prepared) throw new Error(prepared.refusals.join('; '));
  prepared.run(inputs, 1);
}

const linear: LinearRequest = {
  ...{ rows: 8, inputDim: 64, outputDim: 128, dtype: 'f32', transposeWeight: true, hasBias: true },
  ...{ activation: 'silu', keepsPreactivations: true },
};

const layerNorm: NormRequest = {
  kind: 'layer',
  rows: 512,
  width: 256,
  dtype: 'f32',
  hasBias: true,
  epsilon: 1e-5,
};

const { add, mul, tanh } = terms;
const program = elementwiseProgram({ inputs: ['x', 'y'], numbers: ['rate'] }, ({ x, y, rate }) => {
  const moved = add(x, mul(y, rate));
  return { moved, bent: tanh(mul(moved, 0.5)) };
});

const partSums = kernelsOf(PLAIN, (stream, view) => {
  recordScatterAddRows(stream, view([1, 4096], 'i32'), view([1, 4096, 64]), view([1, 256, 64]));
});
const graph = { groups: 2, queries: 64, keys: 96, slots: 32, width: 128 };
const weightedSums = kernelsOf(PLAIN, (stream, view) => {
  const tensor = (shape: Shape): WebGpuTensor => tensorOf(view(shape));
  const inputs = { weights: tensor([2, 64, 32]), graph: tensor([2, 64, 32]), rows: tensor([2, 64, 128]) };
  runWith(transposedGraphProducts(stream, PLAIN, tensor), graph, inputs);
});
const squares = kernelsOf(PLAIN, (stream, view) => {
  const tensor = (shape: Shape): WebGpuTensor => tensorOf(view(shape));
  const inputs = { 0: tensor([512]), 1: tensor([64, 64]) };
  runWith(sumsOfSquares(stream, PLAIN, tensor), { sizes: [512, 4096], dtype: 'f32' }, inputs);
});

/** What devices with the default limits run, at the width of a head; the last one launched. */
const shipped: Readonly<Record<string, ReadonlyMap<string, Kernel>>> = {
  add: kernelsOf(PLAIN, (stream, view) => {
    recordBinary(stream, 'add', view([512, 64]), view([64]), view([512, 64]));
  }),
  softmax: kernelsOf(PLAIN, (stream, view) => recordSoftmax(stream, view([64, 512]), view([64, 512]))),
  'top-k': kernelsOf(PLAIN, (stream, view) => {
    recordTopK(stream, view([64, 4096]), 64, view([64, 64]), view([64, 64], 'i32'));
  }),
  'matmul-narrow-f16': kernelsOf(PLAIN, (stream, view) => {
    recordMatmul(
      stream,
      view([1, 512], 'f16'),
      view([512, 32_768], 'f16'),
      view([1, 32_768], 'f16'),
      false,
      false,
    );
  }),
  'matmul-linear': kernelsOf(PLAIN, (stream, view) => {
    const tensor = (shape: Shape): WebGpuTensor => tensorOf(view(shape));
    const inputs = { x: tensor([8, 64]), weight: tensor([128, 64]), bias: tensor([128]) };
    runWith(linearLayers(stream, PLAIN, tensor), linear, inputs);
  }),
  'linear-gradient': kernelsOf(PLAIN, (stream, view) => {
    const tensor = (shape: Shape): WebGpuTensor => tensorOf(view(shape));
    const request = {
      rows: 4096,
      inputDim: 64,
      outputDim: 128,
      dtype: 'f32',
      transposeWeight: false,
    } as const;
    const inputs = { x: tensor([4096, 64]), dOutput: tensor([4096, 128]) };
    runWith(linearGradients(stream, PLAIN, tensor), request, inputs);
  }),
  'matmul-matrix': kernelsOf(SUBGROUPS, (stream, view) => {
    const half = (shape: Shape): View => view(shape, 'f16');
    recordMatmul(stream, half([264, 96]), half([96, 72]), half([264, 72]), false, false);
  }),
  'column-sums': kernelsOf(PLAIN, (stream, view) => {
    recordReduce(stream, 'sum', view([4096, 64]), [0], view([1, 64]));
  }),
  'elementwise-program': kernelsOf(PLAIN, (stream, view) => {
    const tensor = (shape: Shape): WebGpuTensor => tensorOf(view(shape));
    const inputs = { x: tensor([512, 64]), y: tensor([512, 64]), numbers: tensor([1]) };
    runWith(elementwisePrograms(stream, PLAIN, tensor), { program, shape: [512, 64] }, inputs);
  }),
  norm: kernelsOf(PLAIN, (stream, view) => {
    const tensor = (shape: Shape): WebGpuTensor => tensorOf(view(shape));
    const inputs = { x: tensor([512, 256]), weight: tensor([256]), bias: tensor([256]) };
    runWith(norms(stream, PLAIN, tensor), layerNorm, inputs);
  }),
  'norm-f16': kernelsOf(PLAIN, (stream, view) => {
    const tensor = (shape: Shape): WebGpuTensor => tensorOf(view(shape, 'f16'));
    const inputs = { x: tensor([512, 256]), weight: tensor([256]), bias: tensor([256]) };
    runWith(norms(stream, PLAIN, tensor), { ...layerNorm, dtype: 'f16' }, inputs);
  }),
  'segment-sums': kernelsOf(PLAIN, (stream, view) => {
    const [indices, updates, out] = [view([1, 4096], 'i32'), view([1, 4096, 64]), view([1, 4096, 64])];
    recordScatterAddRows(stream, indices, updates, out, 'sorted');
  }),
  'part-sums-rows': new Map([...partSums].filter(([key]) => key.startsWith('part-sums rows'))),
  'part-sums-join': partSums,
  'cross-entropy-rows': kernelsOf(PLAIN, (stream, view) => {
    const tensor = (shape: Shape): WebGpuTensor => tensorOf(view(shape));
    const inputs = { logits: tensor([32, 10]), targets: tensor([32]) };
    const request = { rows: 32, classes: 10, dtype: 'f32', labelSmoothing: 0.1 } as const;
    runWith(crossEntropies(stream, PLAIN, tensor), request, inputs);
  }),
  entmax: kernelsOf(PLAIN, (stream, view) => {
    const tensor = (shape: Shape): WebGpuTensor => tensorOf(view(shape));
    const inputs = { scores: tensor([4, 8, 512]), visible: tensor([4, 1, 512]) };
    const request = { shape: [4, 8, 512], visible: [4, 1, 512] };
    runWith(entmaxes(stream, PLAIN, tensor), request, inputs);
  }),
  'entmax-gradient': kernelsOf(PLAIN, (stream, view) => {
    const tensor = (shape: Shape): WebGpuTensor => tensorOf(view(shape));
    const inputs = { weights: tensor([8, 9000]), dWeights: tensor([8, 9000]) };
    runWith(entmaxGradients(stream, PLAIN, tensor), { shape: [8, 9000] }, inputs);
  }),
  'count-below': kernelsOf(PLAIN, (stream, view) => {
    const tensor = (shape: Shape, dtype?: DType): WebGpuTensor => tensorOf(view(shape, dtype));
    const inputs = { table: tensor([8, 512]), targets: tensor([8, 64]), first: tensor([8, 64], 'i32') };
    const request = { rows: 8, entries: 512, targets: 64, count: 128, hasFirst: true };
    runWith(countsBelow(stream, PLAIN, tensor), request, inputs);
  }),
  'drawn-entries': kernelsOf(PLAIN, (stream, view) => {
    const tensor = (shape: Shape, dtype?: DType): WebGpuTensor => tensorOf(view(shape, dtype));
    const [shape, visible]: readonly [Shape, Shape] = [
      [4, 8, 16, 512],
      [4, 1, 1, 512],
    ];
    const inputs = { weights: tensor(shape), visible: tensor(visible, 'bool') };
    runWith(drawnEntries(stream, PLAIN, tensor), { shape, visible, seed: 7, firstQuery: 0 }, inputs);
  }),
  'graph-product': kernelsOf(PLAIN, (stream, view) => {
    const tensor = (shape: Shape): WebGpuTensor => tensorOf(view(shape));
    const inputs = { weights: tensor([2, 64, 32]), graph: tensor([2, 64, 32]), rows: tensor([2, 96, 128]) };
    runWith(graphProducts(stream, PLAIN, tensor), graph, inputs);
  }),
  'segment-sums-weighted': new Map(
    [...weightedSums].filter(([key]) => key.startsWith('segment-sums blocks')),
  ),
  'sum-squares-parts': new Map([...squares].filter(([key]) => key.startsWith('sum-squares parts'))),
  'sum-squares-join': squares,
};

test.each(Object.entries(shipped))('shader text of primitives: %s', async (name, kernels) => {
  const text = Array.from(kernels.values()).at(-1)?.source();
  await expect(text).toMatchFileSnapshot(`./__snapshots__/${name}.wgsl`);
});

test('sums and norms of very wide rows stay within the workgroups that a device takes', () => {
  const large = { ...PLAIN, bindingBytes: 2 ** 31 - 4, bufferBytes: 2 ** 31 };
  const widths = [MOST_COLUMNS, MOST_COLUMNS + 1];
  const sums = widths.map((width) =>
    kernelsOf(large, (stream, view) =>
      recordReduce(stream, 'sum', view([256, width]), [0], view([1, width])),
    ),
  );
  expect(sums.map((kernels) => [...kernels.keys()].some((key) => key.startsWith('column-sums')))).toEqual([
    true,
    false,
  ]);
  const answers = widths.flatMap((width) => {
    const request = { ...layerNorm, rows: 1, width };
    return [norms, normGradients].map((make) => {
      let refusals: readonly string[] = [];
      kernelsOf(large, (stream, view) => {
        const tensor = (shape: Shape): WebGpuTensor => tensorOf(view(shape));
        const [x, weight] = [tensor([1, width]), tensor([width])];
        const prepared = make(stream, large, tensor).prepare(request, limitsOf(large));
        if ('refusals' in prepared) refusals = prepared.refusals;
        else prepared.run({ x, weight, bias: weight, dOutput: x }, 1);
      });
      return refusals.length;
    });
  });
  expect(answers).toEqual([0, 0, 1, 1]);
});
