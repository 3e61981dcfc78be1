// Which blocks stay in standard operators though ONNX Runtime's own is asked for, and why.
import * as ort from 'onnxruntime-node';
import { expect, test } from 'vitest';
import { learnAxes, rewriteModel } from '../../src/rewrite/index.js';
import {
  type Block,
  expectSame,
  finish,
  HEADS,
  modelOf,
  plain,
  product,
  type Shapes,
  softmax,
  times,
} from '../support/attention-block.js';

interface Unfit {
  readonly build: (block: Block) => string;
  readonly shapes?: Partial<Shapes>;
  readonly reason: RegExp;
}

const unfit: Readonly<Record<string, Unfit>> = {
  'an added mask': {
    build: (block) => finish(block, block.onnx.op('Add', [product(block), block.mask])),
    reason: /^Add \S+ may hide keys or add to the scores$/,
  },
  'a mask of the input, of the kind that hides nothing by chance': {
    build: (block) => {
      const { onnx, mask } = block;
      const seen = onnx.op('Less', [mask, onnx.f32(100)]);
      const added = onnx.op('Where', [seen, onnx.f32(0), onnx.f32(-1e9)]);
      return finish(block, onnx.op('Add', [product(block), added]));
    },
    reason: /^Add \S+ may hide keys/,
  },
  'a mask that is all true up to some length': {
    build: (block) => {
      const { onnx, mask } = block;
      const length = onnx.op('Gather', [onnx.op('Shape', [mask]), onnx.i64([0])], { axis: 0 });
      const isShort = onnx.op('Less', [length, onnx.i64([5000])]);
      const added = onnx.op('Where', [isShort, onnx.f32(0), onnx.f32(1)]);
      return finish(block, onnx.op('Mul', [product(block), onnx.op('Add', [added, onnx.f32(1)])]));
    },
    reason: /^Mul \S+ changes the scores$/,
  },
  'a constant bias': {
    build: (block) => {
      const bias = block.onnx.f32([0, 0.5, 0]);
      const perHead = block.onnx.op('Reshape', [bias, block.onnx.i64([HEADS, 1, 1])]);
      return finish(block, block.onnx.op('Add', [product(block), perHead]));
    },
    reason: /^Add \S+ may hide keys/,
  },
  'a factor of the input': {
    build: (block) => {
      const most = block.onnx.op('ReduceMax', [block.mask], { keepdims: 0 });
      return finish(block, block.onnx.op('Mul', [product(block), most]));
    },
    reason: /^Mul \S+ changes the scores$/,
  },
  'a factor of 0': {
    build: (block) => finish(block, times(block, product(block), 0)),
    reason: /^its scores are multiplied with 0$/,
  },
  'divided by the scores': {
    build: (block) => finish(block, block.onnx.op('Div', [block.onnx.f32(1), product(block)])),
    reason: /^Div \S+ changes the scores$/,
  },
  'bent scores': {
    build: (block) => finish(block, block.onnx.op('Tanh', [product(block)])),
    reason: /^Tanh \S+ changes the scores$/,
  },
  'weights with a factor': {
    build: (block) => block.onnx.op('MatMul', [times(block, softmax(block, product(block)), 0.5), block.v]),
    reason: /^Mul \S+ changes the weights$/,
  },
  'a guard with another number': {
    build: (block) => {
      const { onnx, v } = block;
      const weights = softmax(block, product(block));
      return onnx.op('MatMul', [onnx.op('Where', [onnx.op('IsNaN', [weights]), onnx.f32(1), weights]), v]);
    },
    reason: /^Where \S+ changes the weights$/,
  },
  'weights in half precision': {
    build: (block) => {
      const { onnx, v } = block;
      const weights = onnx.cast(softmax(block, product(block)), 'f16');
      return onnx.op('MatMul', [onnx.cast(weights, 'f32'), v]);
    },
    reason: /^Cast \S+ changes the weights$/,
  },
  'heads that share keys and values': {
    build: plain,
    shapes: { k: ['b', 1, 8, 's'], v: ['b', 1, 's', 8] },
    reason: /^heads share keys or values: \[\d+,1,8,\d+\]/,
  },
  'an open number of heads': {
    build: plain,
    shapes: { q: ['b', 'h', 'l', 8], k: ['b', 'h', 8, 's'], v: ['b', 'h', 's', 8] },
    reason: /^the number of its heads, or their width, is open$/,
  },
  'a single matrix': {
    build: plain,
    shapes: { q: ['l', 8], k: [8, 's'], v: ['s', 8] },
    reason: /^its queries have 2 axes$/,
  },
  'keys of an earlier run': {
    build: (block) => plain({ ...block, k: 'k' }),
    reason: /^its keys or values come from an input, and the operator would copy them in every run$/,
  },
  'values of an earlier run beside new ones': {
    build: (block) => {
      const { onnx, k, v } = block;
      const twice = (one: string, other: string, axis: number): string => {
        const joined = onnx.op('Concat', [one, other], { axis });
        return onnx.op('Transpose', [onnx.op('Transpose', [joined], { perm: [1, 0, 2, 3] })], {
          perm: [1, 0, 2, 3],
        });
      };
      return plain({ ...block, k: twice(k, k, 3), v: twice(v, 'v', 2) });
    },
    reason: /^its keys or values come from an input/,
  },
  'a second product with a factor': {
    build: (block) => {
      const weights = softmax(block, product(block));
      return block.onnx.op('FusedMatMul', [weights, block.v], { alpha: { float: 2 } }, 'com.microsoft');
    },
    reason: /^com.microsoft.FusedMatMul \S+ is more than a product$/,
  },
};

test.each(Object.keys(unfit))('%s: standard operators, by name', async (name) => {
  const { build, shapes, reason } = unfit[name] as Unfit;
  const original = modelOf(build, shapes);
  const { model, report } = rewriteModel(original, { contrib: true, chunkBytes: 3000, strict: true });
  expect(report.blocks).toMatchObject([
    { result: 'exact', contrib: { reason: expect.stringMatching(reason) } },
  ]);
  expect(Buffer.compare(model, rewriteModel(original, { chunkBytes: 3000 }).model)).toBe(0);
  await expectSame(original, model, [{ b: 2, h: 2, l: 13, s: 17 }]);
});

test('what a run shows of a mask is not taken for what it always is', async () => {
  const original = modelOf((block) => {
    const { onnx, mask } = block;
    // No made-up number is so large, and the operator is of a kind that only a run can tell the outcome of.
    const large = onnx.cast(onnx.op('Greater', [mask, onnx.f32(100)]), 'i64');
    const isHidden = onnx.cast(onnx.op('Unique', [large]), 'bool');
    const added = onnx.op('Where', [isHidden, onnx.f32(-1), onnx.f32(0)]);
    return finish(block, onnx.op('Add', [product(block), added]));
  });
  const learned = await learnAxes(original, ort);
  const { report } = rewriteModel(original, { contrib: true, learned });
  expect(report.blocks).toMatchObject([
    { result: 'exact', contrib: { reason: expect.stringMatching(/^Add/) } },
  ]);
});
