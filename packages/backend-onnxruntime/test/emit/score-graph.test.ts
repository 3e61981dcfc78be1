import * as ort from 'onnxruntime-node';
import { expect, test } from 'vitest';
import { emitScores, type OperatorDomain } from '../../src/emit/attention/score-graph.js';
import { type AttentionVariant, graphInputs } from '../../src/emit/attention/variant.js';
import { GraphBuilder } from '../../src/onnx/graph-builder.js';
import { encodeModel } from '../../src/onnx/write-model.js';

const variant: AttentionVariant = {
  request: {
    batch: 2,
    queryHeads: 4,
    keyHeads: 2,
    queryLength: 6,
    keyLength: 9,
    headDim: 4,
    valueDim: 4,
    dtype: 'f32',
    k: 3,
    scale: 0.3,
    causal: false,
    keyLengths: true,
    bias: [1, 4, 6, 9],
    selection: { levels: 1 },
    saves: false,
  },
  chunk: 6,
  keys: 'rows',
  positions: 'buckets',
  isCareful: false,
  areValuesFinite: true,
};

function graphOf(domain: OperatorDomain): { onnx: GraphBuilder; output: string } {
  const onnx = new GraphBuilder();
  for (const { name, type, shape } of graphInputs(variant)) onnx.input(name, type, shape);
  const [range] = emitScores(onnx, variant, domain);
  return { onnx, output: onnx.output(range?.scores as string, 'f32', [48, 9]) };
}

async function scoresOf(domain: OperatorDomain): Promise<number[]> {
  const { onnx, output } = graphOf(domain);
  const session = await ort.InferenceSession.create(encodeModel(onnx.model()));
  const feeds = Object.fromEntries(
    graphInputs(variant).map(({ name, type, shape }) => {
      const dims = shape.map(Number);
      const size = dims.reduce((product, extent) => product * extent, 1);
      if (type === 'i64') return [name, new ort.Tensor('int64', new BigInt64Array(size), dims)];
      if (type === 'i32') return [name, new ort.Tensor('int32', Int32Array.of(9, 4), dims)];
      const values = Float32Array.from({ length: size }, (_, at) => Math.sin(at * 1.3 + name.length));
      return [name, new ort.Tensor('float32', values, dims)];
    }),
  );
  const result = (await session.run(feeds))[output];
  await session.release();
  return Array.from(result?.data as Float32Array);
}

test('operators of the standard alone give the same scores', async () => {
  const domains = (domain: OperatorDomain) =>
    new Set(
      graphOf(domain)
        .onnx.finish()
        .node.map((node) => node.domain ?? ''),
    );
  expect([...domains('standard')]).toEqual(['']);
  expect([...domains('onnxruntime')].sort()).toEqual(['', 'com.microsoft']);
  const [standard, own] = [await scoresOf('standard'), await scoresOf('onnxruntime')];
  expect(standard.filter((score) => score === Number.NEGATIVE_INFINITY).length).toBe(4 * 6 * 5);
  for (const [at, score] of standard.entries()) {
    if (Number.isFinite(score)) expect(score).toBeCloseTo(own[at] as number, 5);
    else expect(score).toBe(own[at]);
  }
});
