import * as ort from 'onnxruntime-node';
import { describe, expect, test } from 'vitest';
import { GraphBuilder } from '../../src/onnx/graph-builder.js';
import { encodeModel } from '../../src/onnx/write-model.js';
import { rewriteModel } from '../../src/rewrite/index.js';
import { runModel } from '../support/run-model.js';

// A block with a mask as its input, against a computation in double precision that takes keys one by one.
const [batch, heads, queries, depth] = [2, 2, 13, 4];
const LOWEST = -3.4028234663852886e38;

/** softmax(Q Kt + M) V, with rows of NaN made zero if `isGuarded`. */
function blockModel(isGuarded: boolean): Uint8Array {
  const onnx = new GraphBuilder();
  const q = onnx.input('q', 'f32', ['b', heads, 'l', depth]);
  const k = onnx.input('k', 'f32', ['b', heads, 's', depth]);
  const v = onnx.input('v', 'f32', ['b', heads, 's', depth]);
  const mask = onnx.input('mask', 'f32', ['b', 1, 'l', 's']);
  const scores = onnx.op('MatMul', [q, onnx.op('Transpose', [k], { perm: [0, 1, 3, 2] })]);
  let weights = onnx.op('Softmax', [onnx.op('Add', [scores, mask])], { axis: -1 });
  if (isGuarded) weights = onnx.op('Where', [onnx.op('IsNaN', [weights]), onnx.f32(0), weights]);
  onnx.output(onnx.op('MatMul', [weights, v]), 'f32', ['b', heads, 'l', depth]);
  return encodeModel(onnx.model());
}

const noise = (at: number): number => Math.sin(at * 12.9898) * 3;
const contents = {
  'integers, many of them equal': (at: number) => Math.round(noise(at) / 2),
  'all equal': () => 1,
  'no two equal': noise,
};
type Mask = (query: number, key: number, keys: number) => number;
const masks: Readonly<Record<string, Mask>> = {
  none: () => 0,
  'minus infinity': (_, key) => (key % 3 === 1 ? Number.NEGATIVE_INFINITY : 0),
  'lowest number': (_, key) => (key % 3 === 1 ? LOWEST : 0),
  'minus 10,000': (_, key) => (key % 3 === 1 ? -10_000 : 0),
  causal: (query, key, keys) => (key > query + keys - queries ? Number.NEGATIVE_INFINITY : 0),
  'causal, first rows empty': (query, key) => (key > query - 3 ? Number.NEGATIVE_INFINITY : 0),
};

const size = (dims: readonly number[]): number => dims.reduce((product, extent) => product * extent, 1);
const tensor = (dims: readonly number[], value: (at: number) => number): ort.Tensor =>
  new ort.Tensor(
    'float32',
    Float32Array.from({ length: size(dims) }, (_, at) => value(at)),
    dims,
  );

/** Rows of the result by the definition: the k best scores, the lower key first among equals. */
function* expectedRows(
  q: ort.Tensor,
  k: ort.Tensor,
  v: ort.Tensor,
  mask: Mask,
  kept: number,
): Iterable<number[]> {
  const keys = k.dims[2] as number;
  const [qs, ks, vs] = [q, k, v].map(({ data }) => data as Float32Array) as [
    Float32Array,
    Float32Array,
    Float32Array,
  ];
  for (let head = 0; head < batch * heads; head++) {
    for (let query = 0; query < queries; query++) {
      const scores = Array.from({ length: keys }, (_, key) => {
        let sum = 0;
        for (let at = 0; at < depth; at++) {
          sum +=
            (qs[(head * queries + query) * depth + at] as number) *
            (ks[(head * keys + key) * depth + at] as number);
        }
        return Math.fround(Math.fround(sum) + mask(query, key, keys));
      });
      const best = scores
        .map((score, key) => ({ score, key }))
        .sort((a, b) => (a.score === b.score ? a.key - b.key : b.score - a.score))
        .slice(0, kept);
      const largest = (best[0] as { score: number }).score;
      const weights = best.map(({ score }) => Math.exp(score - largest));
      const total = weights.reduce((sum, weight) => sum + weight, 0);
      yield Array.from({ length: depth }, (_, at) =>
        best.reduce(
          (sum, { key }, slot) =>
            sum + ((weights[slot] as number) / total) * (vs[(head * keys + key) * depth + at] as number),
          0,
        ),
      );
    }
  }
}

/** Selected with TopK alone, with a bound first, and from blocks of keys, the last of them not full or full. */
const sizes = [
  { keys: 26, kept: [1, 5, 26] },
  { keys: 300, kept: [3] },
  // A key more than fills the blocks of the bound.
  { keys: 301, kept: [3] },
  { keys: 520, kept: [2] },
  { keys: 576, kept: [2] },
];

describe.each(Object.keys(contents) as (keyof typeof contents)[])('scores: %s', (content) => {
  describe.each(Object.keys(masks))('mask: %s', (name) => {
    test.each(sizes)('$kept of $keys', async ({ keys, kept }) => {
      const mask = masks[name] as Mask;
      const fill = contents[content];
      const q = tensor([batch, heads, queries, depth], fill);
      const k = tensor([batch, heads, keys, depth], (at) => fill(at + 7));
      const v = tensor([batch, heads, keys, depth], (at) => Math.cos(at));
      const feeds = {
        ...{ q, k, v },
        mask: tensor([batch, 1, queries, keys], (at) =>
          mask(Math.floor(at / keys) % queries, at % keys, keys),
        ),
      };
      for (const count of kept) {
        const rows = [...expectedRows(q, k, v, mask, count)];
        for (const isGuarded of [false, true]) {
          const { model, report } = rewriteModel(blockModel(isGuarded), {
            attention: { k: count },
            chunkBytes: 3000,
          });
          expect(report.blocks).toMatchObject([{ result: 'top-k' }]);
          const { data } = await runModel(model, feeds);
          const wrong: string[] = [];
          for (const [row, expected] of rows.entries()) {
            const actual = Array.from(data.subarray(row * depth, (row + 1) * depth));
            const wanted = expected.map((value) => (isGuarded && Number.isNaN(value) ? 0 : value));
            const isRight = actual.every((value, at) => {
              const other = wanted[at] as number;
              return Number.isNaN(other) ? Number.isNaN(value) : Math.abs(value - other) < 1e-5;
            });
            if (!isRight) wrong.push(`row ${row}: ${actual} instead of ${wanted}`);
          }
          expect(rows).toHaveLength(batch * heads * queries);
          expect(wrong).toEqual([]);
        }
      }
    });
  });
});
