import * as ort from 'onnxruntime-node';
import { expect, test } from 'vitest';
import { GraphBuilder } from '../../src/onnx/graph-builder.js';
import { decodeModel } from '../../src/onnx/read-model.js';
import { encodeModel } from '../../src/onnx/write-model.js';

async function run(
  onnx: GraphBuilder,
  feeds: { readonly [name: string]: ort.Tensor },
  output: string,
): Promise<{ dims: readonly number[]; data: number[] }> {
  const session = await ort.InferenceSession.create(encodeModel(onnx.model()));
  const result = (await session.run(feeds))[output] as ort.Tensor;
  await session.release();
  return { dims: result.dims, data: Array.from(result.data as Float32Array) };
}

const range = (...dims: number[]): ort.Tensor => {
  const size = dims.reduce((product, extent) => product * extent, 1);
  return new ort.Tensor(
    'float32',
    Float32Array.from({ length: size }, (_, at) => at),
    dims,
  );
};

test('a model made here is read as it was made', () => {
  const onnx = new GraphBuilder();
  const x = onnx.input('x', 'f32', ['batch', 3]);
  const heavy = onnx.op('Softmax', [onnx.op('Add', [x, onnx.f32([1, 2, 3])])], { axis: -1 });
  const [both] = onnx.branch(
    onnx.bool(true),
    [{ type: 'f32', shape: ['batch', 3] }],
    (inner) => [inner.op('Neg', [heavy])],
    (inner) => [inner.op('LeakyRelu', [heavy], { alpha: { float: 0.5 } })],
  );
  onnx.output(both as string, 'f32', ['batch', 3]);
  const model = onnx.model();
  expect(decodeModel(encodeModel(model))).toEqual(model);
});

test('extents with names: one graph for all lengths', async () => {
  const onnx = new GraphBuilder();
  const x = onnx.input('x', 'f32', ['batch', 'length', 4]);
  const folded = onnx.reshape(x, ['length', 2, 'batch', 2]);
  const output = onnx.output(folded, 'f32', ['length', 2, 'batch', 2]);
  const second = onnx.output(onnx.filled(onnx.f32(7), ['length']), 'f32', ['length']);
  for (const [batch, length] of [
    [1, 3],
    [2, 5],
  ] as const) {
    const made = await run(onnx, { x: range(batch, length, 4) }, output);
    expect(made.dims).toEqual([length, 2, batch, 2]);
    expect(made.data).toEqual(Array.from(range(batch, length, 4).data as Float32Array));
    const filled = await run(onnx, { x: range(batch, length, 4) }, second);
    expect(filled.data).toEqual(new Array(length).fill(7));
  }
});

test('extents of inputs are known in graphs inside', async () => {
  const onnx = new GraphBuilder();
  const x = onnx.input('x', 'f32', [2, 'length']);
  const [sum] = onnx.loop(
    3,
    [{ value: onnx.filled(onnx.f32(0), [2, 'length']), type: 'f32', shape: [2, 'length'] }],
    [],
    (inner, _, [sum]) => [inner.op('Add', [sum as string, inner.reshape(x, [2, 'length'])])],
  );
  const output = onnx.output(sum as string, 'f32', [2, 'length']);
  expect((await run(onnx, { x: range(2, 2) }, output)).data).toEqual([0, 3, 6, 9]);
});

test('an extent that no input has is refused', () => {
  const onnx = new GraphBuilder();
  const x = onnx.input('x', 'f32', ['batch', 3]);
  expect(() => onnx.reshape(x, ['rows', 3])).toThrow(/expected batch, got rows/);
});
