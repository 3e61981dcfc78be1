import * as ort from 'onnxruntime-node';
import { describe, expect, test } from 'vitest';
import { dataTypes } from '../../src/onnx/data-types.js';
import { GraphBuilder } from '../../src/onnx/graph-builder.js';
import type { GraphProto, TensorProto } from '../../src/onnx/messages.js';
import { encodeModel } from '../../src/onnx/write-model.js';
import { rewriteModel } from '../../src/rewrite/index.js';
import { runModel } from '../support/run-model.js';

// Layers of three kinds, against a computation in double precision that sorts the units of each token.
const [width, hidden] = [8, 40];
const kinds = ['relu', 'gelu', 'gated silu'] as const;
type Kind = (typeof kinds)[number];

/** Whole numbers, so that units are equal. */
const weights = (size: number, seed: number): Float32Array =>
  Float32Array.from({ length: size }, (_, at) => Math.round(2 * Math.sin(at * 12.9898 + seed)));
const [first, gate, second] = [1, 2, 3].map((seed) => weights(width * hidden, seed)) as [
  Float32Array,
  Float32Array,
  Float32Array,
];
const added = weights(width, 4);

function layerModel(kind: Kind, opset: number): Uint8Array {
  const onnx = new GraphBuilder();
  const x = onnx.input('x', 'f32', ['batch', 'length', width]);
  const a = onnx.op('MatMul', [x, 'first']);
  let units = '';
  if (kind === 'relu') units = onnx.op('Relu', [a]);
  else if (kind === 'gelu') {
    const erf = onnx.op('Erf', [onnx.op('Mul', [a, onnx.f32(Math.SQRT1_2)])]);
    units = onnx.op('Mul', [onnx.op('Mul', [a, onnx.op('Add', [erf, onnx.f32(1)])]), onnx.f32(0.5)]);
  } else {
    const up = onnx.op('MatMul', [x, 'gate']);
    units = onnx.op('Mul', [onnx.op('Mul', [a, onnx.op('Sigmoid', [a])]), up]);
  }
  const made = onnx.op('MatMul', [units, 'second']);
  onnx.output(onnx.op('Add', [made, 'added']), 'f32', ['batch', 'length', width]);
  const model = onnx.model();
  const constant = (name: string, dims: readonly number[], values: Float32Array): TensorProto => {
    return { name, dims, dataType: dataTypes.float, rawData: new Uint8Array(values.buffer) };
  };
  const initializer = [
    constant('first', [width, hidden], first),
    constant('gate', [width, hidden], gate),
    constant('second', [hidden, width], second),
    constant('added', [width], added),
  ];
  const graph = model.graph as GraphProto;
  return encodeModel({
    ...model,
    graph: { ...graph, initializer: [...graph.initializer, ...initializer] },
    opsetImport: [{ domain: '', version: opset }],
  });
}

/** The error function, by its series: the largest argument here is below 30. */
function erf(x: number): number {
  if (Math.abs(x) > 5) return Math.sign(x);
  let [sum, term] = [x, x];
  for (let n = 1; n < 120; n++) {
    term *= (-x * x) / n;
    sum += term / (2 * n + 1);
  }
  return (2 / Math.sqrt(Math.PI)) * sum;
}

function expectedToken(
  x: readonly number[],
  kind: Kind,
  k: number,
  select: 'magnitude' | 'signed',
): number[] {
  const product = (matrix: Float32Array, unit: number): number =>
    x.reduce((sum, value, at) => sum + value * (matrix[at * hidden + unit] as number), 0);
  const units = Array.from({ length: hidden }, (_, unit) => {
    const a = product(first, unit);
    if (kind === 'relu') return Math.max(a, 0);
    if (kind === 'gelu') return 0.5 * a * (1 + erf(a * Math.SQRT1_2));
    return (a / (1 + Math.exp(-a))) * product(gate, unit);
  });
  const rank = (value: number): number => Math.fround(select === 'signed' ? value : Math.abs(value));
  const kept = units
    .map((value, unit) => ({ value, unit }))
    .sort((one, other) => rank(other.value) - rank(one.value) || one.unit - other.unit)
    .slice(0, k);
  return Array.from({ length: width }, (_, column) =>
    kept.reduce(
      (sum, { value, unit }) => sum + value * (second[unit * width + column] as number),
      added[column] as number,
    ),
  );
}

describe.each(kinds)('%s', (kind) => {
  const standard = kind === 'relu' ? 'signed' : 'magnitude';

  test.each([
    { k: 10, opset: 21 },
    { k: 25, opset: 21 },
    { k: 10, opset: 9 },
    { k: 2, opset: 17, select: 'magnitude' as const },
    { k: 7, opset: 17, select: 'signed' as const },
  ])('k = $k, opset $opset', async ({ k, opset, select }) => {
    const feedForward = { k, ...(select !== undefined && { select }) };
    const original = layerModel(kind, opset);
    const { model, report } = rewriteModel(original, { feedForward, chunkBytes: 3000 });
    const used = select ?? standard;
    expect(report.feedForwards).toMatchObject([{ hidden, k, select: used }]);
    for (const [batch, length] of [
      [1, 1],
      [2, 9],
    ] as const) {
      // Few values, so that the units of GELU and SiLU are equal where they are in double precision.
      const x = Float32Array.from({ length: batch * length * width }, (_, at) => ((at * 7) % 5) - 2);
      const { data, dims } = await runModel(model, {
        x: new ort.Tensor('float32', x, [batch, length, width]),
      });
      expect(dims).toEqual([batch, length, width]);
      for (let token = 0; token < batch * length; token++) {
        const wanted = expectedToken([...x.subarray(token * width, (token + 1) * width)], kind, k, used);
        const got = [...data.subarray(token * width, (token + 1) * width)];
        for (const [at, value] of got.entries()) expect(value).toBeCloseTo(wanted[at] as number, 3);
      }
    }
  });

  test('with as many kept units as there are, it is the same function', async () => {
    const original = layerModel(kind, 17);
    const { model, report } = rewriteModel(original, { feedForward: { k: hidden } });
    expect(report.feedForwards).toMatchObject([{ hidden, reason: `it has ${hidden} units` }]);
    expect(report.feedForwards[0]?.k).toBeUndefined();
    const x = new ort.Tensor(
      'float32',
      Float32Array.from({ length: 7 * width }, (_, at) => Math.sin(at)),
      [1, 7, width],
    );
    expect((await runModel(model, { x })).data).toEqual((await runModel(original, { x })).data);
  });
});

test('one token with k of at most a quarter of the units reads those rows of the weights alone', async () => {
  // A weight that is not a number shows whether its row was read.
  second.fill(Number.NaN, 0, width);
  try {
    const { model } = rewriteModel(layerModel('relu', 17), { feedForward: { k: 10 } });
    // The first unit is not among the largest of these.
    const x = Float32Array.from({ length: width }, (_, at) => -(first[at * hidden] as number));
    const tokens = (count: number): ort.Tensor => {
      const all = Float32Array.from({ length: count * width }, (_, at) => x[at % width] as number);
      return new ort.Tensor('float32', all, [1, count, width]);
    };
    expect((await runModel(model, { x: tokens(1) })).data.every(Number.isFinite)).toBe(true);
    expect((await runModel(model, { x: tokens(2) })).data.every(Number.isFinite)).toBe(false);
  } finally {
    second.set(weights(width * hidden, 3));
  }
});

test('bad numbers of units are refused', () => {
  const original = layerModel('relu', 17);
  expect(() => rewriteModel(original, { feedForward: { k: 0 } })).toThrow(/bad feedForward\.k/);
  const misspelt = { k: 3, selct: 'signed' } as unknown as { readonly k: number };
  expect(() => rewriteModel(original, { feedForward: misspelt })).toThrow(/feedForward.*selct/);
});
